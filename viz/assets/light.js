// Light: what a hovered box depends on and what depends on it; the tooltip; the chosen and the focused box.

const tip = $("tip");
let hovered = null, hoverTimer = 0, lit = [], chosen = null, focused = null;

/** Light a box with all that it came from and all that it leads to. */
function light(node) {
  unlight();
  if (!node) return retrace();
  const [above, up] = reached(node, "ins", "source"), [below, down] = reached(node, "outs", "target");
  lit = [...new Set([...above, ...below])];
  for (const one of lit) one.element.classList.add("lit");
  stage.classList.add("dimmed");
  layers.traces.replaceChildren();
  trace("up", up);
  trace("down", down);
}

/** Light some boxes alone. */
function spotlight(some) {
  unlight();
  lit = [...new Set(some.map(shown))];
  for (const one of lit) one.element.classList.add("lit");
  stage.classList.toggle("dimmed", lit.length > 0);
}

function unlight() {
  for (const one of lit) one.element?.classList.remove("lit");
  lit = [];
  stage.classList.remove("dimmed");
}

/** The edges on top when nothing is hovered: of the chosen box, or of the step that is played. */
function retrace() {
  layers.traces.replaceChildren();
  if (player.active()) return player.trace();
  if (chosen) { trace("up", chosen.ins); trace("down", chosen.outs); }
}

function hover(node, event) {
  if (node === hovered) return;
  hovered = node;
  clearTimeout(hoverTimer);
  tip.hidden = true;
  hoverTimer = setTimeout(() => { light(node); if (node && view.k < 0.75) showTip(node, event); }, node ? 110 : 60);
}

function showTip(node, event) {
  tip.replaceChildren(...[...node.lines, where(node).join(", ")].filter(Boolean).map((line) => {
    const p = document.createElement("p");
    p.textContent = line;
    return p;
  }));
  tip.hidden = false;
  const [x, y] = local(event), { offsetWidth: w, offsetHeight: h } = tip;
  tip.style.left = `${Math.max(4, Math.min(x + 14, span.w - w - 8))}px`;
  tip.style.top = `${Math.max(4, y + 18 + h > span.h ? y - h - 10 : y + 18)}px`;
}

const boxOf = (event) => event.target.closest?.(".box")?.node || null;

layers.boxes.addEventListener("pointerover", (event) => { if (event.pointerType !== "touch" && !stage.classList.contains("moving")) hover(boxOf(event), event); });
layers.boxes.addEventListener("pointerout", (event) => { if (!event.relatedTarget?.closest?.(".box")) hover(null); });

function choose(node, { look = false } = {}) {
  chosen = node && shown(node);
  for (const old of layers.boxes.querySelectorAll("[aria-pressed=true]")) old.removeAttribute("aria-pressed");
  ring("chosen", chosen ? [chosen] : []);
  if (chosen) chosen.element.setAttribute("aria-pressed", "true");
  showPanel(chosen);
  clearTimeout(hoverTimer);
  unlight();
  retrace();
  if (!chosen) return;
  const covered = view.k * (chosen.x + chosen.w / 2) + view.x > span.w - inset || view.k * (chosen.y + chosen.h / 2) + view.y > span.h - below;
  if (look || covered) { measure(); reveal(chosen); }
}

function focusBox(node) {
  reveal(node, true);
  node.element.focus({ preventScroll: true });
}

// Listened for on the stage: an SVG element that listens for focus would take it itself.
stage.addEventListener("focusin", (event) => {
  focused = boxOf(event);
  ring("focus", focused?.element.matches(":focus-visible") ? [focused] : [], 5);
});
stage.addEventListener("focusout", () => { focused = null; ring("focus", []); });

stage.addEventListener("click", (event) => {
  if (dragged) return;
  const node = boxOf(event);
  if (node) { choose(node); node.element.focus({ preventScroll: true }); }
  else if (!event.target.closest("#map")) choose(null);
});
stage.addEventListener("dblclick", (event) => {
  const node = boxOf(event);
  if (node?.members) open(node); else if (!node) zoom(event.shiftKey ? 0.5 : 2, local(event), true);
});
