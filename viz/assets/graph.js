// The graph: boxes, links, scopes, and which scopes are collapsed. Nothing here touches the page.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("graph-data").textContent);
const CHUNK = 60; // boxes that are shown and hidden together

const root = { name: "", parent: null, children: new Map(), members: [], whole: false, steps: new Set(), id: 0 };
const scopes = [root];

function scopeAt(path) {
  let scope = root;
  for (const name of path) {
    if (!scope.children.has(name)) {
      const child = { name, parent: scope, children: new Map(), members: [], whole: false, steps: new Set(), id: scopes.length };
      scopes.push(child);
      scope.children.set(name, child);
    }
    scope = scope.children.get(name);
  }
  return scope;
}

const nodes = data.boxes.map((box, index) => ({
  ...box, index, key: `${index}`, path: box.scope, scope: scopeAt(box.scope),
  x: box.at[0], y: box.at[1], w: box.at[2], h: box.at[3], group: null, ins: [], outs: [], element: null,
}));
for (const node of nodes)
  for (let scope = node.scope; scope; scope = scope.parent) scope.members.push(node);
for (const scope of scopes) scope.times = [...new Set(scope.members.map((n) => n.time).filter((t) => t !== null))];

const links = data.links.map(([s, t, style, d, ends, label, middle]) => (
  { source: nodes[s], target: nodes[t], style, d, ends, label, middle }));

const frames = [];
const chunks = [];
for (const [title, count, backward] of data.frames) {
  const first = frames.length ? frames.at(-1).last : 0;
  const frame = { title, backward, first, last: first + count };
  frames.push(frame);
  for (let k = first; k < frame.last; k += CHUNK) {
    const members = nodes.slice(k, Math.min(k + CHUNK, frame.last));
    for (const node of members) node.chunk = chunks.length;
    chunks.push({ nodes: members, first: k, last: k + members.length });
  }
}

// Collapsing: a scope is closed as a whole, or in some of its time steps.

let groups = new Map();
let edges = []; // what is drawn now: like links, but between what stands for their ends

function closedAt(node) {
  let found = null;
  for (let scope = node.scope; scope; scope = scope.parent) {
    if (scope.whole) found = { scope, time: undefined };
    else if (scope.steps.has(node.time)) found = { scope, time: node.time };
  }
  return found;
}

function regroup() {
  const before = groups;
  groups = new Map();
  for (const node of nodes) {
    const closed = closedAt(node);
    node.group = null;
    if (!closed) continue;
    const key = `${closed.scope.id}/${closed.time === undefined ? "all" : closed.time}/${node.backward ? "back" : ""}`;
    if (!groups.has(key)) groups.set(key, before.get(key) || newGroup(key, closed, node));
    const group = groups.get(key);
    if (!before.has(key)) group.members.push(node);
    node.group = group;
  }
  for (const group of groups.values()) if (!before.has(group.key)) place(group);
  link();
}

const newGroup = (key, { scope, time }, node) => (
  { key, scope, time: time === undefined ? null : time, backward: node.backward, members: [], form: "box", ins: [], outs: [], element: null });

function place(group) {
  const { members, scope } = group;
  const size = members.reduce((sum, n) => sum + n.count, 0);
  const name = scope === root ? `t = ${group.time}` : scope.name;
  group.lines = [group.backward ? `∂ ${name}` : name, `${size} ${size === 1 ? "operation" : "operations"}`];
  group.name = group.lines[0];
  group.h = 38;
  group.w = Math.max(64, 16 + 6 * Math.max(...group.lines.map((l) => Math.min(l.length, 28))));
  const looks = new Map();
  for (const n of members) looks.set(n.look, (looks.get(n.look) || 0) + 1);
  group.look = [...looks].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0][0];
  group.index = members[0].index;
  const [left, top, right, bottom] = bounds(members);
  const near = members.reduce((best, n) => (
    Math.hypot(n.x - (left + right) / 2, n.y - (top + bottom) / 2) < Math.hypot(best.x - (left + right) / 2, best.y - (top + bottom) / 2) ? n : best));
  group.x = (left + right) / 2;
  group.y = (top + bottom) / 2;
  const crowded = nodes.some((n) => !n.group && touches(n, group)) || [...groups.values()].some((g) => g !== group && g.x !== undefined && touches(g, group));
  if (crowded) [group.x, group.y] = [near.x, near.y]; // a place that was free before
}

const touches = (a, b) => Math.abs(a.x - b.x) < (a.w + b.w) / 2 + 4 && Math.abs(a.y - b.y) < (a.h + b.h) / 2 + 4;
const shown = (node) => node.group || node;

function bounds(some) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const n of some) {
    left = Math.min(left, n.x - n.w / 2); right = Math.max(right, n.x + n.w / 2);
    top = Math.min(top, n.y - n.h / 2); bottom = Math.max(bottom, n.y + n.h / 2);
  }
  return [left, top, right, bottom];
}

function link() {
  edges = [];
  const seen = new Set(), beside = new Map();
  for (const node of [...nodes, ...groups.values()]) node.ins = [], node.outs = [];
  for (const one of links) {
    const source = shown(one.source), target = shown(one.target);
    if (source === target) continue;
    let edge = one;
    if (source !== one.source || target !== one.target) {
      const key = `${source.key}>${target.key}>${one.style}`;
      if (seen.has(key)) continue;
      seen.add(key);
      edge = { source, target, style: one.style, label: one.label, detour: true };
      const pair = `${source.key}>${target.key}`;
      beside.set(pair, [...(beside.get(pair) || []), edge]);
    }
    edges.push(edge);
    source.outs.push(edge);
    target.ins.push(edge);
  }
  for (const some of beside.values())
    some.forEach((edge, k) => Object.assign(edge, bent(edge.source, edge.target, 6 * (k - (some.length - 1) / 2), data.edges[edge.style] === "state")));
}

/** A simple curve from border to border, upwards or sideways as the boxes lie; edges of one pair run side by side. */
function bent(a, b, shift, state) {
  const across = Math.abs(b.x - a.x) - (a.w + b.w) / 2, along = Math.abs(b.y - a.y) - (a.h + b.h) / 2;
  const sideways = along < 14 || (state && across > along), sx = Math.sign(b.x - a.x) || 1, sy = Math.sign(b.y - a.y) || 1;
  const from = sideways ? [a.x + sx * a.w / 2, a.y + shift] : [a.x + shift, a.y + sy * a.h / 2];
  const tip = sideways ? [b.x - sx * b.w / 2, b.y + shift] : [b.x + shift, b.y - sy * b.h / 2];
  const end = sideways ? [tip[0] - 6 * sx, tip[1]] : [tip[0], tip[1] - 6 * sy];
  const reach = Math.max(12, 0.45 * (sideways ? Math.abs(end[0] - from[0]) : Math.abs(end[1] - from[1])));
  const [dx, dy] = sideways ? [sx * reach, 0] : [0, sy * reach];
  const d = `M${from}C${from[0] + dx},${from[1] + dy} ${end[0] - dx},${end[1] - dy} ${end}`;
  return { d, ends: [...end, ...tip], middle: [(from[0] + end[0]) / 2, (from[1] + end[1]) / 2] };
}

const visible = () => [...nodes.filter((n) => !n.group), ...groups.values()].sort((a, b) => a.index - b.index);

/** Everything that can be reached from a node over "ins" or "outs", and the edges on the way. */
function reached(start, way, end) {
  const seen = new Set([start]), over = [], stack = [start];
  while (stack.length) {
    for (const edge of stack.pop()[way]) {
      over.push(edge);
      if (!seen.has(edge[end])) { seen.add(edge[end]); stack.push(edge[end]); }
    }
  }
  return [seen, over];
}
