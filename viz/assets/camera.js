// The camera: pan, zoom, fit, what is in view, and the small map.

const stage = $("stage"), camera = $("camera"), map = $("map");
const view = { x: 0, y: 0, k: 1 }, span = { w: 1, h: 1 };
let inset = 0, below = 0; // what the panel covers of the stage: at the right, or at the bottom of a narrow window
const [WIDTH, HEIGHT] = data.size;
const LEGIBLE = 0.42, LARGEST = 8;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let flight = 0, waiting = 0, smallest = 0.02;

function measure() {
  const { width, height } = stage.getBoundingClientRect();
  [span.w, span.h] = [width || 1, height || 1];
  smallest = Math.min(0.2, fitted().k / 2);
}

function fitted([left, top, right, bottom] = [0, 0, WIDTH, HEIGHT], largest = 1.6) {
  const pad = 20, k = Math.min(largest, (span.w - inset - 2 * pad) / (right - left || 1), (span.h - below - 2 * pad) / (bottom - top || 1));
  const scale = Math.max(k, 0.004);
  return { k: scale, x: (span.w - inset) / 2 - scale * (left + right) / 2, y: (span.h - below) / 2 - scale * (top + bottom) / 2 };
}

function show() {
  waiting = 0;
  camera.setAttribute("transform", `translate(${view.x.toFixed(2)} ${view.y.toFixed(2)}) scale(${view.k.toFixed(5)})`);
  level();
  cull();
  drawMap();
  $("zoom-value").textContent = `${Math.round(100 * view.k)} %`;
}

const later = () => { waiting ||= requestAnimationFrame(show); };

/** Far away lines stay visible and texts go; titles of columns grow while there is room. */
function level() {
  const far = view.k < LEGIBLE;
  document.body.classList.toggle("far", far);
  const thick = Math.max(1, Math.pow(2, Math.round(Math.log2(0.45 / view.k) * 2) / 2));
  if (thick !== view.thick) {
    view.thick = thick;
    stage.style.setProperty("--thick", thick);
    const size = Math.min(60, Math.max(12, 11 / view.k));
    data.columns.forEach(({ title, frame }, k) => {
      const text = layers.columns.children[k].lastChild, room = 1.8 * (frame[2] - 12) / Math.max(title.length, 3);
      const fitting = Math.max(12, Math.min(size, room));
      text.style.fontSize = `${fitting.toFixed(1)}px`;
      text.setAttribute("y", frame[1] + (fitting > 16 ? -5 : 4 + 0.9 * fitting));
    });
  }
}

function cull() {
  const margin = 60, left = (-margin - view.x) / view.k, top = (-margin - view.y) / view.k;
  const right = (span.w + margin - view.x) / view.k, bottom = (span.h + margin - view.y) / view.k;
  const outside = (a) => !a || a[2] < left || a[0] > right || a[3] < top || a[1] > bottom;
  for (const chunk of chunks) {
    const away = outside(chunk.area), gone = outside(chunk.reach);
    if (away !== chunk.away) { chunk.away = away; chunk.boxes.classList.toggle("away", away); }
    if (gone !== chunk.gone) { chunk.gone = gone; chunk.edges.classList.toggle("away", gone); }
    if (!away && !chunk.written && view.k >= LEGIBLE) { chunk.written = true; chunk.nodes.forEach(write); }
  }
  if (unfitted.length) fitTexts();
}

function move(to) {
  cancelAnimationFrame(flight);
  Object.assign(view, to);
  later();
}

function fly(to, instant = false) {
  cancelAnimationFrame(flight);
  if (instant || calm.matches) { Object.assign(view, to); show(); return; }
  const from = { ...view }, start = performance.now(), time = 260;
  const centre = (v) => [(span.w / 2 - v.x) / v.k, (span.h / 2 - v.y) / v.k];
  const [a, b] = [centre(from), centre(to)];
  const tick = (now) => {
    const s = Math.min(1, Math.max(0, (now - start) / time)), e = 1 - Math.pow(1 - s, 3);
    const k = from.k * Math.pow(to.k / from.k, e);
    view.k = k;
    view.x = span.w / 2 - k * (a[0] + (b[0] - a[0]) * e);
    view.y = span.h / 2 - k * (a[1] + (b[1] - a[1]) * e);
    show();
    if (s < 1) flight = requestAnimationFrame(tick); else Object.assign(view, to), later();
  };
  flight = requestAnimationFrame(tick);
}

function zoom(factor, at = [span.w / 2, span.h / 2], smooth = false) {
  const k = Math.min(LARGEST, Math.max(smallest, view.k * factor)), f = k / view.k;
  const to = { k, x: at[0] - f * (at[0] - view.x), y: at[1] - f * (at[1] - view.y) };
  if (smooth) fly(to); else move(to);
}

const fit = (instant) => fly(fitted(), instant);

/** Bring a box into view, at a size at which it can be read. */
function reveal(node, instant = false) {
  const k = view.k < LEGIBLE * 1.5 ? 1 : view.k, x = view.k * node.x + view.x, y = view.k * node.y + view.y;
  const inside = x > 60 && x < span.w - inset - 60 && y > 40 && y < span.h - below - 40;
  if (k === view.k && inside) return;
  const centre = k * HEIGHT < span.h - below ? HEIGHT / 2 : node.y; // a picture that is not taller than the window stays in its middle
  fly({ k, x: (span.w - inset) / 2 - k * node.x, y: (span.h - below) / 2 - k * centre }, instant);
}

/** At first the whole picture, or of a long one its beginning at a size that can be read. */
function opening() {
  const whole = fitted();
  if (whole.k > 0.15) return fly(whole, true);
  const k = Math.max(0.5, Math.min(1, (span.h - 40) / HEIGHT)), left = span.w / WIDTH < span.h / HEIGHT;
  return fly({ k, x: left ? 20 : (span.w - k * WIDTH) / 2, y: k * HEIGHT < span.h ? (span.h - k * HEIGHT) / 2 : span.h - 20 - k * HEIGHT }, true);
}

// The map

const mapScale = Math.min(180 / WIDTH, 120 / HEIGHT); // a long picture is drawn taller than it is
const mapX = Math.max(40, WIDTH * mapScale) / WIDTH, mapY = Math.max(26, HEIGHT * mapScale) / HEIGHT;
let mapped = null;

function drawMap() {
  const end = [view.x + view.k * WIDTH, view.y + view.k * HEIGHT];
  const useful = view.x < -2 || view.y < -2 || end[0] > span.w - inset + 2 || end[1] > span.h + 2;
  map.hidden = !useful;
  if (!useful) return;
  const ratio = devicePixelRatio || 1, w = WIDTH * mapX, h = HEIGHT * mapY;
  if (!mapped) { map.width = w * ratio; map.height = h * ratio; map.style.width = `${w}px`; map.style.height = `${h}px`; mapped = mapPicture(ratio); }
  const pen = map.getContext("2d"), sx = mapX * ratio, sy = mapY * ratio;
  pen.clearRect(0, 0, map.width, map.height);
  pen.drawImage(mapped, 0, 0);
  pen.strokeStyle = getComputedStyle(stage).getPropertyValue("--accent");
  pen.lineWidth = 1.5 * ratio;
  const top = Math.max(1, -view.y / view.k * sy), bottom = Math.min(map.height - 1, (span.h - view.y) / view.k * sy);
  pen.strokeRect(-view.x / view.k * sx, top, Math.max(3, span.w / view.k * sx), Math.max(3, bottom - top));
}

function mapPicture(ratio) {
  const sheet = document.createElement("canvas"), sx = mapX * ratio, sy = mapY * ratio, color = new Map();
  [sheet.width, sheet.height] = [map.width, map.height];
  const pen = sheet.getContext("2d");
  for (const node of nodes) {
    if (!color.has(node.look)) color.set(node.look, getComputedStyle(node.element).getPropertyValue("--l"));
    pen.fillStyle = color.get(node.look);
    pen.fillRect((node.x - node.w / 2) * sx, (node.y - node.h / 2) * sy, Math.max(1, node.w * sx), Math.max(1, node.h * sy));
  }
  return sheet;
}

map.addEventListener("pointerdown", (event) => { event.stopPropagation(); map.setPointerCapture(event.pointerId); lookAt(event); });
map.addEventListener("pointermove", (event) => { if (map.hasPointerCapture(event.pointerId)) lookAt(event); });
map.addEventListener("click", (event) => event.stopPropagation());

function lookAt(event) {
  const frame = map.getBoundingClientRect();
  const x = (event.clientX - frame.left) / mapX, y = (event.clientY - frame.top) / mapY;
  move({ x: (span.w - inset) / 2 - view.k * x, y: span.h / 2 - view.k * y });
}

// Pointers: one moves, two pinch.

const pointers = new Map();
let dragged = false;

const local = (event) => { const frame = stage.getBoundingClientRect(); return [event.clientX - frame.left, event.clientY - frame.top]; };

stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  if (!pointers.size) dragged = false;
  pointers.set(event.pointerId, { at: local(event), from: local(event) });
});
stage.addEventListener("pointermove", (event) => {
  const pointer = pointers.get(event.pointerId);
  if (!pointer) return;
  const now = local(event), other = [...pointers].find(([id]) => id !== event.pointerId);
  if (!dragged && Math.hypot(now[0] - pointer.from[0], now[1] - pointer.from[1]) < 4) return;
  if (!dragged) { dragged = true; stage.setPointerCapture(event.pointerId); stage.classList.add("moving"); }
  if (other) {
    const [, { at: [ox, oy] }] = other;
    zoom(Math.hypot(now[0] - ox, now[1] - oy) / (Math.hypot(pointer.at[0] - ox, pointer.at[1] - oy) || 1), [(now[0] + ox) / 2, (now[1] + oy) / 2]);
  }
  const share = other ? 0.5 : 1;
  move({ x: view.x + share * (now[0] - pointer.at[0]), y: view.y + share * (now[1] - pointer.at[1]) });
  pointer.at = now;
});
for (const end of ["pointerup", "pointercancel"])
  stage.addEventListener(end, (event) => { pointers.delete(event.pointerId); if (!pointers.size) stage.classList.remove("moving"); });

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? span.h : 1;
  if (event.shiftKey) return move({ x: view.x - unit * (event.deltaX || event.deltaY) });
  const rate = event.ctrlKey ? 0.01 : 0.0016;
  zoom(Math.exp(-rate * unit * Math.max(-240, Math.min(240, event.deltaY))), local(event));
}, { passive: false });

new ResizeObserver(() => {
  const before = { ...span }, whole = Math.abs(view.k - fitted().k) < 1e-6;
  measure();
  if (whole) Object.assign(view, fitted());
  else if (before.w > 1) { view.x += (span.w - before.w) / 2; view.y += (span.h - before.h) / 2; }
  later();
}).observe(stage);
