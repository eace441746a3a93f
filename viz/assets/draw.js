// Drawing: boxes, texts, edges and rings as SVG. Texts are written when they can first be read.

const SVG = "http://www.w3.org/2000/svg";
const layers = Object.fromEntries(["columns", "edges", "traces", "boxes", "rings"].map((id) => [id, $(id)]));

function svg(tag, attributes, parent, text) {
  const element = document.createElementNS(SVG, tag);
  for (const name in attributes) element.setAttribute(name, attributes[name]);
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

const where = (node) => [
  node.time !== null && `t = ${node.time}`, node.scope !== root && pathOf(node.scope).join("/"), node.backward && "gradient", node.members && "collapsed",
].filter(Boolean);
const said = (node) => [...node.lines, ...where(node)].join(", ");

function pathOf(scope) {
  const path = [];
  for (; scope.parent; scope = scope.parent) path.unshift(scope.name);
  return path;
}

function drawBox(node, parent) {
  const { x, y, w, h, form } = node;
  const g = svg("g", { class: `box k${node.look} ${form}${node.members ? " group" : ""}`, role: "button", tabindex: -1, "aria-label": said(node) }, parent);
  const frame = { x: x - w / 2, y: y - h / 2, width: w, height: h, rx: form === "round" ? Math.min(w, h) / 2 : form === "delay" ? 0 : 4 };
  if (node.members) svg("rect", { ...frame, x: frame.x + 3.5, y: frame.y - 3.5, class: "pile" }, g);
  svg("rect", frame, g);
  g.node = node;
  node.element = g;
}

function write(node) {
  node.written = true;
  if (node.form === "delay" && !node.lines.length) return;
  const leading = 12, top = node.y - (node.lines.length - 1) * leading / 2 + (node.form === "round" ? 4.5 : 3.5);
  node.lines.forEach((line, k) => {
    const last = k === node.lines.length - 1;
    const kind = k === 0 && node.name && line === node.name ? "name" : last && k && (node.members || /^\(.*\)$|^scalar$/.test(line)) ? "shape" : "";
    const text = svg("text", { x: node.x, y: top + k * leading, class: kind, "aria-hidden": "true" }, node.element, line);
    if (!/^[\x20-\x7e]{0,6}$/.test(line)) unfitted.push([text, Math.max(node.w - 6, 10)]);
  });
}

let unfitted = []; // texts whose width has to be looked at

function fitTexts() {
  const wide = unfitted.filter(([text, room]) => text.getComputedTextLength() > room);
  unfitted = [];
  for (const [text, room] of wide) {
    text.setAttribute("textLength", room);
    text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  }
}

function drawAll() {
  for (const { title, at, gap, frame: [x, y, width, height] } of data.columns) {
    const g = svg("g", {}, layers.columns);
    if (!gap) svg("rect", { x, y, width, height, rx: 7 }, g);
    svg("text", { x: at[0], y: at[1] + 4, "text-anchor": "middle" }, g, title);
  }
  for (const chunk of chunks) {
    chunk.away = chunk.gone = true; // until the camera looks there: what is not shown is not laid out
    chunk.edges = svg("g", { class: "away" }, layers.edges);
    chunk.boxes = svg("g", { class: "away" });
    for (const node of chunk.nodes) drawBox(node, chunk.boxes);
    layers.boxes.append(chunk.boxes);
    chunk.area = bounds(chunk.nodes);
  }
  layers.detours = svg("g", {}, layers.edges);
  layers.piles = svg("g", {}, layers.boxes);
  document.body.classList.toggle("many", nodes.length > 800);
}

// Edges: one path for all of a kind that lead into a chunk.

function drawEdges() {
  const batches = new Map();
  for (const edge of edges) {
    const place = edge.detour ? -1 : edge.target.chunk;
    const key = `${place} ${edge.style}`;
    if (!batches.has(key)) batches.set(key, { place, style: edge.style, edges: [] });
    batches.get(key).edges.push(edge);
  }
  for (const chunk of chunks) { chunk.edges.replaceChildren(); chunk.reach = null; }
  layers.detours.replaceChildren();
  for (const { place, style, edges: some } of batches.values()) {
    const parent = place < 0 ? layers.detours : chunks[place].edges, kind = data.edges[style];
    svg("path", { d: some.map((e) => e.d).join(""), class: `line ${kind} e${style}` }, parent);
    const heads = some.map((e) => (kind === "cut" ? tee(e.ends) : head(e.ends))).join("");
    svg("path", { d: heads, class: `${kind === "cut" ? "tee" : "head"} e${style}` }, parent);
    for (const e of some) if (e.label) svg("text", { x: e.middle[0], y: e.middle[1] + 3 }, parent, e.label);
    if (place >= 0) chunks[place].reach = some.reduce(spanned, chunks[place].reach || [Infinity, Infinity, -Infinity, -Infinity]);
  }
}

function spanned([left, top, right, bottom], edge) {
  const numbers = edge.d.slice(1).split(/[LC, ]/);
  for (let k = 0; k < numbers.length; k += 2) {
    const x = +numbers[k], y = +numbers[k + 1];
    if (x < left) left = x; if (x > right) right = x;
    if (y < top) top = y; if (y > bottom) bottom = y;
  }
  return [left, top, right, bottom];
}

function head([x, y, tx, ty]) {
  const long = Math.hypot(tx - x, ty - y);
  if (!long) return "";
  const u = (tx - x) / long, v = (ty - y) / long, bx = tx - 6 * u, by = ty - 6 * v;
  return `M${tx},${ty}L${bx - 2.5 * v},${by + 2.5 * u}L${bx + 2.5 * v},${by - 2.5 * u}Z`;
}

function tee([x, y, tx, ty]) {
  const long = Math.hypot(tx - x, ty - y) || 1, u = (tx - x) / long, v = (ty - y) / long;
  return `M${x},${y}L${tx},${ty}M${tx - 4 * v},${ty + 4 * u}L${tx + 4 * v},${ty - 4 * u}`;
}

/** Edges drawn once more, on top, in the colour of their role. */
function trace(kind, some) {
  if (!some.length) return;
  svg("path", { d: some.map((e) => e.d).join(""), class: kind }, layers.traces);
  svg("path", { d: some.map((e) => head(e.ends)).join(""), class: `${kind} head` }, layers.traces);
}

function ring(kind, some, gap = 3) {
  for (const old of [...layers.rings.querySelectorAll(`.${kind}`)]) old.remove();
  for (const { x, y, w, h, form } of some)
    svg("rect", { class: kind, x: x - w / 2 - gap, y: y - h / 2 - gap, width: w + 2 * gap, height: h + 2 * gap, rx: form === "round" ? h / 2 + gap : 4 + gap }, layers.rings);
}

/** Draw again after a scope was collapsed or expanded. */
function redraw() {
  for (const node of nodes) {
    const away = node.group !== null;
    if (away !== node.away) { node.away = away; node.element.classList.toggle("away", away); }
  }
  const kept = new Set(groups.values());
  for (const element of [...layers.piles.children]) if (!kept.has(element.node)) element.remove();
  for (const group of kept) if (!group.element || !group.element.parentNode) { drawBox(group, layers.piles); write(group); }
  fitTexts();
  drawEdges();
}
