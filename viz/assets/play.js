// The player: the forward pass and then the backward pass, by time step or operation by operation.

const slider = $("time"), output = $("now");

const player = (() => {
  let grain = frames.length > 2 ? "step" : "operation";
  let moments = []; // each with its title, its boxes, and how many boxes of the picture are computed when it is over
  let position = 0, timer = 0;

  const cut = () => (grain === "step" ? frames.map(ofFrame) : visible().map(ofNode));
  const ofFrame = (frame) => ({ ...frame, boxes: [...new Set(nodes.slice(frame.first, frame.last).map(shown))] });
  const ofNode = (node) => ({
    title: titleOf(node), time: node.time, backward: node.backward, boxes: [node],
    last: 1 + (node.members ? Math.max(...node.members.map((n) => n.index)) : node.index),
  });

  function restart() {
    const end = position >= moments.length, share = moments.length ? position / moments.length : 1;
    moments = cut();
    slider.max = moments.length;
    set(end ? moments.length : Math.round(share * moments.length));
    ticks();
  }

  function ticks() {
    const turn = moments.findIndex((m) => m.backward), marks = [];
    const inner = (k) => `calc(7.5px + ${k / moments.length} * (100% - 15px))`;
    const mark = (k, text) => {
      const label = html("span", {}, text), line = html("i");
      label.style.left = line.style.left = inner(k);
      if (k === 0) label.style.transform = "none";
      marks.push(line, label);
    };
    if (turn > 0) { mark(0, "forward"); mark(turn, "backward"); }
    $("ticks").replaceChildren(...marks);
  }

  const running = () => position > 0 && position < moments.length;
  const active = () => position < moments.length || timer !== 0;
  const now = () => (active() && position > 0 ? moments[position - 1] : null);

  function set(to) {
    position = Math.max(0, Math.min(moments.length, to));
    slider.value = position;
    slider.style.setProperty("--done", `${moments.length ? 100 * position / moments.length : 100}%`);
    const done = position === 0 ? 0 : position === moments.length ? nodes.length : moments[position - 1].last;
    mark(done);
    const moment = now();
    ring("now", moment ? moment.boxes : [], 2);
    caption(moment);
    if (!chosen || active()) retrace();
  }

  function caption(moment) {
    const text = moment ? `${moment.title}${grain === "operation" && moment.time !== null && moment.time !== undefined ? `, t = ${moment.time}` : ""}` : position ? "all computed" : "nothing computed yet";
    const pass = moment ? (moment.backward ? "backward  " : "forward  ") : "";
    output.replaceChildren(...(pass ? [html("i", {}, pass)] : []), html("bdi", {}, text));
    output.title = pass + text;
    slider.setAttribute("aria-valuetext", `${pass}${text}, ${position} of ${moments.length}`);
  }

  /** Boxes from number `done` on are still to come. */
  function mark(done) {
    for (const chunk of chunks) {
      const state = chunk.last <= done ? "" : chunk.first >= done ? "pending" : "partly";
      if (state !== (chunk.state || "")) {
        for (const group of [chunk.boxes, chunk.edges]) { group.classList.remove("pending", "partly"); if (state) group.classList.add(state); }
        if (chunk.state === "partly") for (const n of chunk.nodes) n.element.classList.remove("later");
        chunk.state = state;
      }
      if (state === "partly") for (const n of chunk.nodes) n.element.classList.toggle("later", n.index >= done);
    }
    for (const group of groups.values()) group.element?.classList.toggle("later", group.index >= done);
    layers.detours.classList.toggle("pending", done < nodes.length);
    marked = done;
  }
  let marked = 0;

  function trace_() {
    const moment = now();
    const boxes = new Set(moment ? moment.boxes : []);
    const partly = chunks.find((c) => c.state === "partly");
    const done = partly ? partly.nodes.filter((n) => !n.group && n.index < marked && !boxes.has(n)).flatMap((n) => n.ins) : [];
    const passed = [...groups.values()].filter((g) => g.index < marked && !boxes.has(g)).flatMap((g) => g.ins);
    trace("done", [...done, ...passed]);
    trace("now", [...boxes].flatMap((n) => n.ins));
  }

  function pace() {
    return grain === "step" ? Math.max(90, Math.min(750, 16000 / moments.length)) : Math.max(45, Math.min(420, 24000 / moments.length));
  }

  function follow() {
    const moment = now();
    if (!moment || !moment.boxes.length) return;
    const [left, top, right, bottom] = bounds(moment.boxes), x = view.k * (left + right) / 2 + view.x, y = view.k * (top + bottom) / 2 + view.y;
    const apart = x < 0.1 * span.w || x > 0.9 * span.w || y < 0.05 * span.h || y > 0.95 * span.h;
    if (apart) fly({ k: view.k, x: view.x + span.w / 2 - x, y: y < 0 || y > span.h ? view.y + span.h / 2 - y : view.y });
  }

  function play() {
    if (position >= moments.length) position = 0;
    timer = setInterval(() => { if (position >= moments.length) pause(); else { set(position + 1); follow(); } }, pace());
    button();
    set(position + 1);
    follow();
  }

  function pause() {
    clearInterval(timer);
    timer = 0;
    button();
    set(position);
  }

  function button() {
    const icon = $("play").querySelector("use"), on = timer !== 0;
    icon.setAttribute("href", on ? "#i-pause" : "#i-play");
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    $("play").title = on ? "Pause (Space)" : "Play (Space)";
  }

  function step(by) { if (timer) pause(); set(position + by); follow(); }

  function regrain(to = grain === "step" ? "operation" : "step") {
    if (to === grain) return;
    const share = moments.length ? position / moments.length : 1;
    if (timer) pause();
    grain = to;
    pressed();
    moments = cut();
    position = Math.round(share * moments.length);
    restart();
  }

  slider.addEventListener("input", () => { if (timer) pause(); set(Number(slider.value)); follow(); });
  const pressed = () => { for (const b of $("grain").children) b.setAttribute("aria-pressed", String(b.dataset.grain === grain)); };
  $("grain").addEventListener("click", (event) => event.target.dataset.grain && regrain(event.target.dataset.grain));
  $("grain").hidden = frames.length < 2;
  pressed();
  const toggle = () => (timer ? pause() : play());
  const actions = { first: () => step(-moments.length), back: () => step(-1), play: toggle, next: () => step(1), last: () => step(moments.length) };
  for (const id in actions) $(id).addEventListener("click", actions[id]);
  return { restart, active: running, trace: trace_, toggle, step, regrain, first: actions.first, last: actions.last };
})();
