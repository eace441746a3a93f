// The panel: everything that is known of the chosen box. Details are read when they are first asked for.

const panel = $("panel"), body = $("panel-body");
let details = null;
const MATH = "http://www.w3.org/1998/Math/MathML";

function html(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const name in attributes) {
    if (name === "on") element.addEventListener("click", attributes.on);
    else if (attributes[name] !== null) element.setAttribute(name, attributes[name]);
  }
  element.append(...children.filter((c) => c !== null && c !== undefined));
  return element;
}

const icon = (name) => { const s = svg("svg", { "aria-hidden": "true" }); svg("use", { href: `#i-${name}` }, s); return s; };

function mathml([tag, ...children]) {
  const element = document.createElementNS(MATH, tag);
  if (tag === "mo" && "()".includes(children[0])) { element.setAttribute("stretchy", "false"); element.setAttribute("form", children[0] === "(" ? "prefix" : "postfix"); }
  if (tag === "mspace") { element.setAttribute("width", "0.2em"); return element; }
  if (tag === "mi" && children[1]) { element.setAttribute("mathvariant", "normal"); children.pop(); }
  element.append(...children.map((c) => (typeof c === "string" ? c : mathml(c))));
  return element;
}

function math(tree) {
  const element = document.createElementNS(MATH, "math");
  element.setAttribute("display", "block");
  element.append(mathml(tree));
  return element;
}

function told(node) {
  details ||= JSON.parse($("details-data").textContent);
  return details[node.index];
}

const shapeText = (shape) => (!shape ? "" : shape.length ? `(${shape.join(", ")}${shape.length === 1 ? "," : ""})` : "scalar");
const titleOf = (node) => (node.members ? node.name : node.name || node.lines.join(" ") || node.id);

function showPanel(node) {
  panel.hidden = !node;
  body.replaceChildren();
  if (node) body.append(...(node.members ? ofGroup(node) : ofBox(node)));
  const wide = innerWidth > 760;
  inset = node && wide ? panel.offsetWidth : 0;
  below = node && !wide ? panel.offsetHeight : 0;
  map.style.right = `${12 + inset}px`;
  panel.scrollTop = 0;
}

function ofGroup(group) {
  const { scope } = group;
  return [
    html("h2", {}, group.name), html("p", { class: "kind" }, `collapsed, ${group.lines[1]}${group.time === null ? "" : `, t = ${group.time}`}`),
    html("div", { class: "links" }, html("button", { type: "button", id: "expand", on: () => open(group) }, "Expand")),
    ...neighbours(group),
    html("h3", {}, "Inside"), linkList(group.members, (n) => { expandTo(n); choose(n, { look: true }); }),
    ...(scope === root ? [] : [html("h3", {}, "Scope"), html("p", { dir: "auto" }, pathOf(scope).join(" / "))]),
  ];
}

function ofBox(node) {
  const facts = told(node);
  if (!facts) return [html("h2", {}, titleOf(node)), html("p", { class: "kind" }, "a mark in the picture, which stands for no tensor"), ...neighbours(node)];
  const leaf = { parameter: "parameter", constant: "constant", placeholder: "input", literal: "number", detached: "cut off from its history" }[facts.op];
  const kind = leaf || (facts.direction === "backward" ? "operation of the backward pass" : "operation of the forward pass");
  return [
    html("h2", {}, titleOf(node)), html("p", { class: "kind" }, kind),
    facts.formula && math(facts.formula), table(node, facts),
    ...valueOf("Value", facts.value, facts.op === "placeholder" ? "an input, given when the function runs" : "traced: known when the function runs"),
    ...(facts.grad ? valueOf("Gradient", facts.grad) : []),
    ...sourceOf(facts), ...neighbours(node), ...othersOf(facts), ...collapsing(node),
  ].filter(Boolean);
}

function table(node, facts) {
  const rows = [["operation", facts.op], ["shape", shapeText(facts.shape)], ["dtype", facts.dtype]];
  if (facts.time !== null) rows.push(["time step", `t = ${facts.time}`]);
  if (facts.scope.length) rows.push(["scope", facts.scope.join(" / ")]);
  for (const [name, value] of facts.params) rows.push([name, value, "mono"]);
  rows.push(["id", node.id, "mono"]);
  return html("dl", {}, ...rows.flatMap(([name, value, kind]) => [html("dt", {}, name), html("dd", { class: kind || null, "data-fact": name }, value)]));
}

function valueOf(title, value, otherwise) {
  const heading = html("h3", {}, title);
  if (!value) return [heading, html("p", { class: "muted" }, otherwise)];
  const parse = (text) => Number(text.replaceAll("−", "-")), flat = value.rows.flat().map(parse).filter(Number.isFinite);
  const most = Math.max(...flat.map(Math.abs), 0) || 1;
  const body = html("tbody", {}, ...value.rows.map((row) => html("tr", {}, ...row.map((text) => {
    const cell = html("td", {}, text), v = parse(text);
    if (Number.isFinite(v) && flat.length > 1) {
      cell.className = "cell";
      cell.style.setProperty("--share", Math.abs(v) / most);
      cell.style.setProperty("--hue", v < 0 ? "var(--down)" : "var(--up)");
    }
    return cell;
  }))));
  const figures = value.figures.map(([name, text]) => html("span", {}, `${name} `, html("b", {}, text)));
  if (value.more) figures.unshift(html("span", {}, "first numbers only"));
  return [heading, html("div", { class: "numbers", "data-preview": title.toLowerCase() }, html("table", {}, body)), figures.length ? html("p", { class: "figures" }, ...figures) : null];
}

const sourceOf = (facts) => [
  html("h3", {}, "Source"), html("p", { class: "file" }, `${facts.file}:${facts.line}`),
  facts.code ? html("pre", { id: "code" }, facts.code) : null,
];

function neighbours(node) {
  const list = (title, edges, end) => {
    const some = [...new Set(edges.map((e) => e[end]))];
    return some.length ? [html("h3", {}, title), linkList(some, (n) => choose(n, { look: true }))] : [];
  };
  return [...list("Computed from", node.ins, "source"), ...list("Used by", node.outs, "target")];
}

function linkList(some, act) {
  const button = (n) => html("button", { type: "button", on: () => act(n) }, titleOf(n), n.time === null || n.scope === root && n.members ? null : html("small", {}, ` t = ${n.time}`));
  const most = 24, box = html("div", { class: "links" }, ...some.slice(0, most).map(button));
  if (some.length > most) box.append(html("button", { type: "button", on: () => box.replaceChildren(...some.map(button)) }, `${some.length - most} more…`));
  return box;
}

function othersOf({ others, left }) {
  if (!others.length) return [];
  const item = (o) => html("li", {}, o.formula ? math(o.formula) : html("bdi", {}, o.name || o.op), html("span", {}, shapeText(o.shape)));
  return [
    html("h3", {}, `Drawn as one with ${others.length + left} more`), html("ul", { class: "others" }, ...others.map(item)),
    left ? html("p", { class: "muted" }, `and ${left} more`) : null,
  ];
}

function collapsing(node) {
  const ways = [];
  for (let scope = node.scope; scope.parent; scope = scope.parent) {
    const inner = scope;
    if (node.time !== null) ways.push([`${inner.name} at t = ${node.time}`, () => inner.steps.add(node.time)]);
    ways.push([`${inner.name} as a whole`, () => { inner.whole = true; }]);
  }
  if (node.time !== null && data.columns.length > 1) ways.push([`step t = ${node.time}`, () => root.steps.add(node.time)]);
  if (!ways.length) return [];
  const act = (change) => () => { change(); collapsed(); choose(node); };
  return [html("h3", {}, "Collapse"), html("div", { class: "links", id: "collapse" }, ...ways.map(([text, change]) => html("button", { type: "button", on: act(change) }, text)))];
}

$("panel-close").addEventListener("click", () => { const back = chosen; choose(null); back?.element.focus({ preventScroll: true }); });
