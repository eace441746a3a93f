// The outline: the tree of scopes, which collapse per time step or as a whole, and the legend.

const tree = $("tree");

function buildTree() {
  const timed = root.times.length > 1;
  if (!root.children.size && !timed) {
    tree.replaceWith(html("p", { class: "muted" }, "no scopes were recorded"));
    return;
  }
  const stack = [[root, tree, 1]];
  while (stack.length) { // no recursion: scopes nest as deep as the user likes
    const [scope, parent, depth] = stack.pop();
    const inner = html("ul", { role: "group", hidden: depth > 2 ? "" : null });
    const item = html("li", { role: "treeitem", tabindex: scope === root ? 0 : -1, "aria-level": depth, "aria-label": `${scope.name || "whole model"}, ${scope.members.length} boxes` });
    if (scope.children.size) item.setAttribute("aria-expanded", String(depth <= 2));
    const fold = html("button", { type: "button", class: scope.children.size ? "fold" : "fold none", tabindex: -1, "aria-label": "Show inner scopes", on: () => unfold(item) }, icon("next"));
    const label = html("button", { type: "button", class: "label", tabindex: -1, title: pathOf(scope).join(" / ") || null, on: () => visit(scope) }, scope.name || "whole model");
    scope.ways = [];
    if (scope.times.length > 1) scope.ways.push(way("steps", "Collapse in every time step", () => toggleSteps(scope)));
    if (scope !== root) scope.ways.push(way("whole", "Collapse as a whole", () => { scope.whole = !scope.whole; collapsed(); }));
    item.append(html("div", { class: "row" }, fold, label, html("span", { class: "size" }, String(scope.members.length)), html("span", { class: "ways" }, ...scope.ways)));
    if (scope.children.size) item.append(inner);
    item.scope = scope;
    parent.append(item);
    for (const child of [...scope.children.values()].reverse()) stack.push([child, inner, depth + 1]);
  }
}

function way(kind, title, act) {
  const picture = svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" });
  if (kind === "steps") for (const x of [1, 5.5, 10]) svg("rect", { x, y: 4.5, width: 3, height: 5, rx: 0.8 }, picture);
  else svg("rect", { x: 1.5, y: 4, width: 11, height: 6, rx: 1.2 }, picture);
  return html("button", { type: "button", tabindex: -1, "aria-pressed": "false", "aria-label": title, title, "data-way": kind, on: act }, picture);
}

function toggleSteps(scope) {
  const all = scope === root ? scope.times : [...new Set(scope.members.map((n) => n.time))];
  const closed = all.every((t) => scope.steps.has(t));
  scope.whole = false;
  scope.steps = new Set(closed ? [] : all);
  collapsed();
}

function unfold(item, open = item.getAttribute("aria-expanded") !== "true") {
  item.setAttribute("aria-expanded", String(open));
  item.lastChild.hidden = !open;
}

function visit(scope) {
  if (!scope.members.length) return;
  const some = [...new Set(scope.members.map(shown))];
  measure();
  fly(fitted(bounds(some)));
  spotlight(scope === root ? [] : some);
  say(`${scope.name || "whole model"}: ${scope.members.length} boxes`);
}

/** The graph after scopes were closed or opened. */
function collapsed() {
  for (const one of lit) one.element?.classList.remove("lit");
  lit = [];
  stage.classList.remove("dimmed");
  regroup();
  redraw();
  for (const scope of scopes) {
    for (const button of scope.ways || []) {
      const pressed = button.dataset.way === "whole" ? scope.whole : scope.times.length > 0 && scope.times.every((t) => scope.steps.has(t));
      button.setAttribute("aria-pressed", String(pressed));
    }
  }
  player.restart();
  if (chosen) {
    const gone = chosen.members ? groups.get(chosen.key) !== chosen : chosen.group;
    if (gone) choose(chosen.members ? null : chosen); else { showPanel(chosen); ring("chosen", [chosen]); }
  }
  retrace();
  findAgain();
  later();
  say(`${visible().length} boxes`);
}

/** Expand a collapsed box. */
function open(group) {
  const { scope } = group;
  if (group.time !== null || (!scope.whole && scope.steps.has(null))) scope.steps.delete(group.time);
  else scope.whole = false;
  const again = chosen === group;
  collapsed();
  if (again) choose(null);
  group.members[0].element.focus({ preventScroll: true });
}

function expandTo(node) {
  let changed = false;
  for (let scope = node.scope; scope; scope = scope.parent) {
    if (scope.whole || scope.steps.has(node.time)) { scope.whole = false; scope.steps.delete(node.time); changed = true; }
  }
  if (changed) collapsed();
}

tree.addEventListener("keydown", (event) => {
  const item = event.target.closest("[role=treeitem]");
  if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
  const items = [...tree.querySelectorAll("[role=treeitem]")].filter((i) => i.offsetParent), at = items.indexOf(item);
  const go = (to) => { if (to) { item.tabIndex = -1; to.tabIndex = 0; to.focus(); } };
  const inner = item.getAttribute("aria-expanded");
  const keys = {
    ArrowDown: () => go(items[at + 1]), ArrowUp: () => go(items[at - 1]), Home: () => go(items[0]), End: () => go(items.at(-1)),
    ArrowRight: () => (inner === "false" ? unfold(item, true) : inner && go(items[at + 1])),
    ArrowLeft: () => (inner === "true" ? unfold(item, false) : go(item.parentElement.closest("[role=treeitem]"))),
    Enter: () => visit(item.scope), c: () => (item.scope.ways.at(-1) || item).click(), s: () => item.scope.ways[0]?.click(),
  };
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  keys[event.key]();
});

function buildLegend() {
  const box = (k) => { const s = svg("svg", { viewBox: "0 0 30 16", class: `k${k}` }); svg("rect", { x: 3, y: 2, width: 24, height: 12, rx: 3 }, s); return s; };
  const line = (k) => {
    const s = svg("svg", { viewBox: "0 0 30 16" }), kind = data.edges[k], g = svg("g", { class: `e${k} sample` }, s);
    svg("path", { d: "M2,8H22", class: `line ${kind}` }, g);
    svg("path", { d: kind === "cut" ? "M23,4V12" : "M29,8L22,5V11Z", class: kind === "cut" ? "tee" : "head" }, g);
    return s;
  };
  const item = (picture, text) => { picture.setAttribute("aria-hidden", "true"); return html("li", {}, picture, html("span", { dir: "auto", title: text }, text)); };
  $("legend").append(...data.legend.boxes.map(([text, k]) => item(box(k), text)), ...data.legend.edges.map(([text, k]) => item(line(k), text)));
}

function toggleOutline(open = $("outline").hidden) {
  $("outline").hidden = !open;
  $("outline-button").setAttribute("aria-expanded", String(open));
}
$("outline-button").addEventListener("click", () => toggleOutline());
