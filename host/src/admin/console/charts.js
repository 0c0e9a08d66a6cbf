// The pictures: what flows, and how the last hour went.
//
// Takes numbers, draws SVG and changes it in place. What a picture shows stands beside it as text too, so each is hidden
// from those who hear the page, or has a text of its own.

import { h, s, say, set } from "./dom.js";
import { count, perSecond } from "./format.js";
import { FATES } from "./words.js";

const KEYS = Object.keys(FATES);
const STORED = ["kept", "edited"];
/** More upstreams than these share a band. */
const MAX_UPSTREAMS = 6;
/** In pixels: of all bands together, of a label, between nodes, of a node. */
const THICKNESS = 116;
const SLOT = 33;
const GAP = 8;
const NODE = 8;
/** The first node's top. */
const TOP = 14;
/** The longest name beside a node, in letters. */
const LETTERS = 18;
/** Where the screen is narrower, upstreams have no column of their own. */
const NARROW = 620;

/** From received to what became of it to upstreams; a band is as thick as its share. */
export class FlowDiagram {
  #svg = s("svg", { class: "flow", "aria-hidden": "true", focusable: "false" });
  #list = h("ul", { class: "unseen" });
  #parts = new Map();
  #last = null;
  element = h("div", { class: "flow-box" }, this.#svg, this.#list);

  constructor(signal) {
    const observer = new ResizeObserver(() => this.#last && this.draw(...this.#last));
    observer.observe(this.element);
    signal.addEventListener("abort", () => observer.disconnect());
  }

  /** `flow`: numbers by fate, and by upstream under `upstreams`; `told` makes a text of one. */
  draw(flow, told = perSecond) {
    this.#last = [flow, told];
    const width = inside(this.element);
    if (width <= 0) return;
    const fates = KEYS.map((key) => ({ key, label: FATES[key][0], about: FATES[key][1], value: flow[key] ?? 0 }));
    const upstreams = few(flow.upstreams ?? {});
    // As high as the most nodes need if one of them has all: what flows changes it no more.
    const most = Math.max(fates.length, upstreams.length);
    const height = TOP + THICKNESS + (most - 1) * SLOT + most * GAP;
    set(set(this.#svg, "width", width), "height", height);
    set(this.#svg, "viewBox", `0 0 ${width} ${height}`);
    const total = Math.max(
      flow.received ?? 0,
      fates.reduce((sum, fate) => sum + fate.value, 0),
    );
    const seen = new Set();
    const thick = (value) => (value > 0 ? Math.max(1.5, (THICKNESS * value) / (total || 1)) : 0);
    const isNarrow = width < NARROW;
    const x = isNarrow ? [0, Math.max(96, width - 190)] : [0, (width - 150) * 0.46, width - 150];
    const received = {
      key: "received",
      label: "received",
      value: flow.received ?? 0,
      x: x[0],
      about: "what senders wrote",
    };
    place(fates, x[1], thick, true);
    place(upstreams, x[2] ?? 0, thick, true);
    const tall = fates.reduce((sum, fate) => sum + fate.thick, 0);
    Object.assign(received, { y: 34, thick: tall });
    let from = received.y;
    for (const fate of fates) {
      this.#band(seen, `${fate.key}`, fate.key, [received.x + NODE, from, fate.x, fate.y], fate.thick);
      from += fate.thick;
    }
    if (!isNarrow) this.#stored(seen, fates, upstreams, thick);
    for (const node of [received, ...fates, ...(isNarrow ? [] : upstreams)])
      this.#node(seen, node, told, node === received);
    for (const [id, part] of this.#parts) {
      if (seen.has(id)) continue;
      part.remove();
      this.#parts.delete(id);
    }
    this.#tell([received, ...fates], upstreams, told);
  }

  /** What is stored goes to upstreams in the shares that they have of it together. */
  #stored(seen, fates, upstreams, thick) {
    const all = upstreams.reduce((sum, upstream) => sum + upstream.value, 0);
    const into = new Map(upstreams.map((upstream) => [upstream, upstream.y]));
    for (const fate of fates.filter(({ key }) => STORED.includes(key))) {
      let from = fate.y;
      for (const upstream of upstreams) {
        const share = all > 0 ? upstream.value / all : 0;
        const [out, arriving] = [fate.thick * share, thick(fate.value) * share];
        this.#band(
          seen,
          `${fate.key}>${upstream.key}`,
          fate.key,
          [fate.x + NODE, from, upstream.x, into.get(upstream)],
          Math.min(out, arriving),
        );
        from += out;
        into.set(upstream, into.get(upstream) + arriving);
      }
    }
  }

  #part(seen, id, make) {
    seen.add(id);
    if (!this.#parts.has(id)) {
      const part = make();
      this.#parts.set(id, part);
      this.#svg.append(part);
    }
    return this.#parts.get(id);
  }

  #band(seen, id, kind, [x1, y1, x2, y2], thick) {
    const band = this.#part(seen, `band ${id}`, () => {
      const path = s("path", { class: `band ${kind}` });
      // Bands lie under nodes and words.
      this.#svg.prepend(path);
      return path;
    });
    if (band !== this.#svg.firstChild && band.nextSibling === null) this.#svg.prepend(band);
    const middle = (x1 + x2) / 2;
    const curve = (y, z) => `${middle},${y} ${middle},${z}`;
    set(
      band,
      "d",
      thick > 0
        ? `M${x1},${y1} C${curve(y1, y2)} ${x2},${y2} V${y2 + thick} C${curve(y2 + thick, y1 + thick)} ${x1},${y1 + thick} Z`
        : "",
    );
  }

  #node(seen, node, told, isAbove) {
    const group = this.#part(seen, `node ${node.key}`, () =>
      s("g", null, s("rect", { width: NODE, rx: 2 }), s("text", { class: "value" }), s("text", { class: "label" })),
    );
    const [rect, value, label] = group.children;
    set(group, "class", `node ${node.key.startsWith("to ") ? "upstream" : node.key}${node.value > 0 ? "" : " none"}`);
    set(rect, "x", node.x);
    set(rect, "y", node.y);
    set(rect, "height", Math.max(node.thick, 2));
    const [x, y] = isAbove
      ? [node.x, node.y - 20]
      : [node.x + NODE + 8, node.y + Math.max(0, node.thick / 2 - SLOT / 2) + 12];
    for (const [text, dy] of [
      [value, 0],
      [label, 15],
    ]) {
      set(text, "x", x);
      set(text, "y", y + dy);
    }
    if (isAbove) {
      set(label, "y", y);
      set(value, "y", y + 15);
    }
    say(value, told(node.value));
    const letters = [...node.label];
    say(label, letters.length > LETTERS ? `${letters.slice(0, LETTERS - 1).join("")}…` : node.label);
  }

  #tell(nodes, upstreams, told) {
    const lines = [
      ...nodes.map((node) => [node.key, `${node.label}: ${told(node.value)}, ${node.about}`]),
      ...upstreams.map((node) => [node.key, `to upstream ${node.label}: ${told(node.value)}`]),
    ];
    while (this.#list.children.length > lines.length) this.#list.lastChild.remove();
    while (this.#list.children.length < lines.length) this.#list.append(h("li"));
    lines.forEach(([key, text], place) => say(set(this.#list.children[place], "data-key", key), text));
  }
}

/** The width that an element has for what it holds. */
function inside(element) {
  const { paddingLeft, paddingRight } = getComputedStyle(element);
  return Math.floor(element.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight));
}

/** The largest upstreams, and all others as one. */
function few(upstreams) {
  const all = Object.entries(upstreams).sort(([a], [b]) => a.localeCompare(b));
  const large = all.length <= MAX_UPSTREAMS ? all : [...all].sort(([, a], [, b]) => b - a).slice(0, MAX_UPSTREAMS - 1);
  const nodes = large.map(([name, value]) => ({ key: `to ${name}`, label: name, value }));
  if (large.length === all.length) return nodes;
  const rest = all.filter((entry) => !large.includes(entry));
  return [
    ...nodes,
    { key: "to others", label: `${rest.length} others`, value: rest.reduce((sum, [, value]) => sum + value, 0) },
  ];
}

/** One under the other, each with room for its words. */
function place(nodes, x, thick) {
  let y = TOP;
  for (const node of nodes) {
    Object.assign(node, { x, y, thick: thick(node.value) });
    y += Math.max(node.thick, SLOT) + GAP;
  }
}

const SPARK = { width: 120, height: 22 };

/** The last hour of a tenant, a line for what came and marks for what was lost or waited. */
export function sparkline() {
  return s(
    "svg",
    { class: "spark", width: SPARK.width, height: SPARK.height, "aria-hidden": "true", focusable: "false" },
    s("path", { class: "area" }),
    s("path", { class: "line" }),
    s("path", { class: "waiting" }),
    s("path", { class: "rejected" }),
  );
}

/** `slots` is how many numbers an hour has: a younger history is at the right. */
export function drawSparkline(svg, history, slots) {
  const [area, line, waiting, rejected] = svg.children;
  const values = history?.received ?? [];
  if (values.length < 2) {
    for (const path of svg.children) set(path, "d", "");
    return;
  }
  const [top, bottom] = [2, SPARK.height - 4];
  const step = SPARK.width / Math.max(1, slots - 1);
  const start = SPARK.width - step * (values.length - 1);
  const max = Math.max(...values, 1);
  const x = (place) => (start + step * place).toFixed(1);
  const points = values
    .map((value, place) => `${x(place)},${(bottom - ((bottom - top) * value) / max).toFixed(1)}`)
    .join("L");
  set(line, "d", `M${points}`);
  set(area, "d", `M${x(0)},${bottom}L${points}L${x(values.length - 1)},${bottom}Z`);
  const marks = (key) =>
    (history[key] ?? []).map((value, place) => (value > 0 ? `M${x(place)},${SPARK.height}v-4` : "")).join("");
  set(waiting, "d", marks("waiting"));
  set(rejected, "d", marks("rejected"));
}

const HOUR = { height: 132, bottom: 20 };
const STACK = ["stored", "dropped", "rejected", "waiting"];

/** A tenant's last hour in bars, a minute each, with a cursor that tells the numbers of one. */
export class HourChart {
  #svg = s("svg", {
    class: "hour",
    height: HOUR.height,
    role: "img",
    tabindex: "0",
    "aria-label": "The last hour, minute by minute. Arrow keys move through it.",
  });
  #readout = h("p", { class: "readout", "aria-live": "polite" });
  #minutes = [];
  #cursor = null;
  element = h("div", { class: "hour-box" }, this.#svg, this.#readout);

  constructor(signal) {
    const observer = new ResizeObserver(() => this.#draw());
    observer.observe(this.element);
    signal.addEventListener("abort", () => observer.disconnect());
    this.#svg.addEventListener("pointermove", (event) => {
      const { left, width } = this.#svg.getBoundingClientRect();
      this.#point(Math.floor(((event.clientX - left) / width) * 60) - (60 - this.#minutes.length));
    });
    this.#svg.addEventListener("pointerleave", () => this.#point(null));
    this.#svg.addEventListener("blur", () => this.#point(null));
    this.#svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.#point((this.#cursor ?? this.#minutes.length) + step);
    });
  }

  /** `history`: as `/api/v1/flow` has it; `now`: the end of its last minute, in Unix time. */
  show(history, now, seconds) {
    const received = history?.received ?? [];
    this.#minutes = received.map((all, place) => {
      const part = (key) => history[key]?.[place] ?? 0;
      const [dropped, rejected, waiting] = [part("dropped"), part("rejected"), part("waiting")];
      return {
        at: now - (received.length - place) * seconds,
        received: all,
        stored: Math.max(0, all - dropped - rejected - waiting),
        dropped,
        rejected,
        waiting,
      };
    });
    this.#draw();
  }

  #point(place) {
    const inside = place === null ? null : Math.max(0, Math.min(this.#minutes.length - 1, place));
    this.#cursor = this.#minutes.length ? inside : null;
    this.#draw();
  }

  #draw() {
    const width = inside(this.element);
    if (width <= 0) return;
    set(this.#svg, "width", width);
    const step = width / 60;
    const plot = HOUR.height - HOUR.bottom;
    const most = Math.max(...this.#minutes.map((minute) => STACK.reduce((sum, key) => sum + minute[key], 0)), 0);
    const max = Math.max(most, 1);
    const start = 60 - this.#minutes.length;
    const paths = Object.fromEntries(STACK.map((key) => [key, ""]));
    this.#minutes.forEach((minute, place) => {
      let y = plot;
      for (const key of STACK) {
        const height = minute[key] > 0 ? Math.max(1, ((plot - 14) * minute[key]) / max) : 0;
        if (height)
          paths[key] +=
            `M${((start + place) * step + 0.5).toFixed(1)},${y.toFixed(1)}h${Math.max(1, step - 1.5).toFixed(1)}v${(-height).toFixed(1)}h${(-Math.max(1, step - 1.5)).toFixed(1)}z`;
        y -= height;
      }
    });
    const cursor =
      this.#cursor === null
        ? []
        : [s("rect", { class: "cursor", x: (start + this.#cursor) * step, y: 0, width: step, height: plot })];
    this.#svg.replaceChildren(
      ...cursor,
      s("path", { class: "axis", d: `M0,${plot + 0.5}H${width}` }),
      ...STACK.map((key) => s("path", { class: key, d: paths[key] })),
      s("text", { x: 0, y: 10 }, most > 0 ? `${count(most)} a minute` : ""),
      s("text", { x: 0, y: HOUR.height - 5 }, "60 min ago"),
      s("text", { x: width, y: HOUR.height - 5, "text-anchor": "end" }, "now"),
    );
    this.#readout.textContent = this.#text();
  }

  #text() {
    const minute = this.#minutes[this.#cursor];
    if (minute) {
      const time = new Date(minute.at * 1000).toLocaleTimeString("sv", { hour: "2-digit", minute: "2-digit" });
      return `${time}: received ${count(minute.received)}, stored ${count(minute.stored)}, dropped ${count(minute.dropped)}, rejected ${count(minute.rejected)}, waiting ${count(minute.waiting)}`;
    }
    if (!this.#minutes.length) return "The gateway has no full minute of this tenant yet.";
    const sum = (key) => count(this.#minutes.reduce((all, one) => all + one[key], 0));
    return `Last ${this.#minutes.length} min: received ${sum("received")}, stored ${sum("stored")}, dropped ${sum("dropped")}, rejected ${sum("rejected")}, waiting ${sum("waiting")}`;
  }
}

/** What the colours of the bars mean. */
export const legend = () =>
  h(
    "ul",
    { class: "legend", "aria-hidden": "true" },
    STACK.map((key) => h("li", null, h("span", { class: `swatch ${key}` }), key)),
  );
