// Search: all words must occur in what is written in a box, its id, operation, scope or time step.

const field = $("search"), found = $("found");
const SHOWN = 60;
let matches = [], at = -1, hay = null;

function straw(node) {
  const time = node.time === null ? "" : `t=${node.time} t = ${node.time}`;
  return [...node.lines, node.id, node.op || "", node.path.join("/"), time, node.backward ? "gradient backward" : ""].join(" ").toLowerCase();
}

function find(text) {
  hay ||= nodes.map(straw);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  matches = words.length ? nodes.filter((_, k) => words.every((w) => hay[k].includes(w))) : [];
  const rank = (n) => (n.name && words.includes(n.name.toLowerCase()) ? 0 : words.some((w) => n.lines.some((l) => l.toLowerCase() === w)) ? 1 : 2);
  matches.sort((a, b) => rank(a) - rank(b) || a.index - b.index);
  at = -1;
  list();
  findAgain();
  $("found-count").textContent = words.length ? `${matches.length} found` : "";
}

function findAgain() {
  const rings = [...new Set(matches.map(shown))];
  ring("match", rings.length > 1500 ? [] : rings, 4);
}

function list() {
  found.replaceChildren(...matches.slice(0, SHOWN).map((node, k) => {
    const where = [node.time === null ? "" : `t = ${node.time}`, node.path.join("/")].filter(Boolean).join(" · ");
    const item = html("li", { role: "option", id: `found-${k}`, "aria-selected": "false", on: () => { go(k); closeList(); } },
      html("span", { class: "what" }, node.lines.join("  ") || node.id), html("span", { class: "where" }, where));
    return item;
  }));
  const open = matches.length > 0;
  found.hidden = !open;
  field.setAttribute("aria-expanded", String(open));
  field.removeAttribute("aria-activedescendant");
}

function closeList() {
  found.hidden = true;
  field.setAttribute("aria-expanded", "false");
}

function go(k) {
  if (!matches.length) return;
  at = (k + matches.length) % matches.length;
  found.querySelector("[aria-selected=true]")?.setAttribute("aria-selected", "false");
  const item = found.children[at];
  item?.setAttribute("aria-selected", "true");
  item?.scrollIntoView({ block: "nearest" });
  if (item) field.setAttribute("aria-activedescendant", item.id);
  $("found-count").textContent = `${at + 1} of ${matches.length}`;
  expandTo(matches[at]);
  choose(matches[at], { look: true });
}

field.addEventListener("input", () => find(field.value));
field.addEventListener("focus", () => { if (matches.length) { found.hidden = false; field.setAttribute("aria-expanded", "true"); } });
field.addEventListener("blur", () => setTimeout(closeList, 150));
field.addEventListener("keydown", (event) => {
  const keys = {
    Enter: () => go(at + (event.shiftKey ? -1 : 1)), ArrowDown: () => go(at + 1), ArrowUp: () => go(at - 1),
    Escape: () => { if (field.value) { field.value = ""; find(""); } else field.blur(); },
  };
  event.stopPropagation();
  if (!Object.hasOwn(keys, event.key)) return;
  event.preventDefault();
  keys[event.key]();
});
