// Theme, keys, help, and the start.

function say(text) { $("said").textContent = text; }

const dark = matchMedia("(prefers-color-scheme: dark)");
let preferred = null;

function setTheme() {
  const theme = preferred || (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-pressed", String(theme === "dark"));
  mapped = null;
  later();
}
function toggleTheme() {
  preferred = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  setTheme();
}
dark.addEventListener("change", setTheme);
$("theme").addEventListener("click", toggleTheme);

$("zoom-in").addEventListener("click", () => zoom(1.4, undefined, true));
$("zoom-out").addEventListener("click", () => zoom(1 / 1.4, undefined, true));
$("zoom-value").addEventListener("click", () => zoom(1 / view.k, undefined, true));
$("fit").addEventListener("click", () => { measure(); fit(); });

// From box to box

/** The nearest box in a direction: among what is joined by an edge if there is any, else among all. */
function towards(node, dx, dy) {
  const joined = new Set([...node.ins.map((e) => e.source), ...node.outs.map((e) => e.target)]);
  let best = null, least = Infinity;
  for (const other of visible()) {
    const x = other.x - node.x, y = other.y - node.y, along = x * dx + y * dy, across = Math.abs(x * dy - y * dx);
    if (other === node || along <= 2 || across > 3 * along) continue;
    const far = (along + 2 * across) * (joined.has(other) ? 0.35 : 1);
    if (far < least) { least = far; best = other; }
  }
  return best;
}

function inOrder(node, by) {
  const all = visible(), k = all.indexOf(node) + by;
  return all[k] || null;
}

const ARROWS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

stage.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const arrow = ARROWS[event.key];
  if (arrow && event.shiftKey) move({ x: view.x - 80 * arrow[0], y: view.y - 80 * arrow[1] });
  else if (event.target === stage && (arrow || event.key === "Enter")) focusBox(chosen || nearest());
  else if (focused && arrow) { const to = towards(focused, ...arrow); if (to) focusBox(to); }
  else if (focused && event.key === "Tab") { const to = inOrder(focused, event.shiftKey ? -1 : 1); if (!to) return; focusBox(to); }
  else if (focused && (event.key === "Enter" || event.key === " ")) choose(focused);
  else if (focused && event.key === "c") fold(focused);
  else return;
  event.preventDefault();
  event.stopPropagation();
});

function nearest() {
  const x = (span.w / 2 - view.x) / view.k, y = (span.h / 2 - view.y) / view.k;
  return visible().reduce((best, n) => (Math.hypot(n.x - x, n.y - y) < Math.hypot(best.x - x, best.y - y) ? n : best));
}

/** Collapse the innermost scope of a box in its time step, or expand what is collapsed. */
function fold(node) {
  if (node.members) return open(node);
  if (node.scope !== root) node.scope.steps.add(node.time);
  else if (node.time !== null && data.columns.length > 1) root.steps.add(node.time);
  else return undefined;
  collapsed();
  return node.group && focusBox(node.group);
}

const KEYS = [
  ["/", "search; Enter goes through what is found", () => field.focus()],
  ["f", "fit the whole picture", () => { measure(); fit(); }],
  ["+", "zoom in", () => zoom(1.4, undefined, true)], ["-", "zoom out", () => zoom(1 / 1.4, undefined, true)],
  ["1", "actual size", () => zoom(1 / view.k, undefined, true)],
  ["z", "zoom to the chosen box", () => { if (chosen) { measure(); fly(fitted([chosen.x - 140, chosen.y - 110, chosen.x + 140, chosen.y + 110])); } }],
  ["arrows", "to the neighbours of a box; with Shift, move the picture"], ["Tab", "to the next box in order of computation"],
  ["Enter", "read about a box"], ["c", "collapse the scope of a box, or expand it"], ["e", "expand everything", () => expandAll()],
  [" ", "play, or pause"], [",", "one step back", () => player.step(-1)], [".", "one step on", () => player.step(1)],
  ["Home", "to the start", () => player.first()], ["End", "to the end", () => player.last()],
  ["g", "by time step, or by operation", () => player.regrain()],
  ["o", "outline", () => toggleOutline()], ["d", "light or dark", toggleTheme], ["?", "these keys", () => $("help").showModal()],
  ["Escape", "close, and back to the picture"],
];

function expandAll() {
  for (const scope of scopes) { scope.whole = false; scope.steps.clear(); }
  collapsed();
}

function escape() {
  if (chosen) choose(null);
  else if (field.value) { field.value = ""; find(""); }
  stage.focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || event.target === field) return;
  if (event.key === "Escape") return escape();
  if (event.target === slider && /^(Arrow|Home|End|Page)/.test(event.key)) return undefined;
  if (event.key === " ") { if (event.target.closest("button")) return undefined; event.preventDefault(); return player.toggle(); }
  const key = event.key === "=" ? "+" : event.key, entry = KEYS.find(([k, , act]) => k === key && act);
  if (!entry) return undefined;
  event.preventDefault();
  return entry[2]();
});

function buildKeys() {
  const names = { " ": "Space", "-": "−", Escape: "Esc", arrows: "← ↑ → ↓" };
  $("keys").append(...KEYS.flatMap(([key, text]) => [html("dt", {}, html("kbd", {}, names[key] || key)), html("dd", {}, text)]));
}
$("help-button").addEventListener("click", () => $("help").showModal());
$("help").addEventListener("click", (event) => { if (event.target === $("help")) $("help").close(); });

function start() {
  const many = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
  const steps = data.steps, parts = [many(nodes.length, "box").replace(/boxs$/, "boxes"), many(links.length, "edge"), steps && many(steps, "time step")].filter(Boolean);
  $("title").textContent = data.title;
  $("counts").textContent = parts.join(", ");
  $("picture-title").textContent = data.title;
  $("picture-desc").textContent = `A graph of ${parts.join(", ")}. Data goes upwards, time from left to right.`;
  if (innerWidth <= 760) toggleOutline(false);
  setTheme();
  measure();
  drawAll();
  buildTree();
  buildLegend();
  buildKeys();
  regroup();
  drawEdges();
  player.restart();
  opening();
  document.documentElement.dataset.ready = "true";
}
start();
