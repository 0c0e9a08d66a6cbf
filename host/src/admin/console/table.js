// A table of any length.
//
// Takes columns and rows, keeps in the page only those rows that are in view, and writes a cell only where its text
// changes: five hundred tenants cost no more than twenty. Rows are sorted and searched here; what is focused stays.

import { append, h, say, set } from "./dom.js";
import { of } from "./format.js";

/** Rows above and below the view that are there already. */
const SPARE = 8;

export class Table {
  #columns;
  #key;
  #rows = [];
  #order = [];
  #shown = new Map();
  #heads = new Map();
  #sort;
  #query;
  #told;
  #held = false;
  #pending = false;
  #body = h("div", { class: "grid-body", role: "rowgroup" });
  #count = h("p", { class: "count", role: "status" });
  #search;
  element;

  /**
   * `columns`: `{key, title, class, number, value(row), show(cell, row, isNew), least}`; `key` of a row is its identity.
   * `told` hears `{sort, q}` whenever the reader changes them.
   */
  constructor({ name, label, columns, key, noun, sort, query = "", hint, told, signal }) {
    this.#columns = columns;
    this.#key = key;
    this.noun = noun;
    this.#sort = columns.some(({ key }) => key === sort.replace("-", "")) ? sort : columns[0].key;
    this.#query = query;
    this.#told = told;
    const header = h(
      "div",
      { class: "grid-row grid-head", role: "row" },
      columns.map((column) => this.#head(column)),
    );
    this.#search = h("input", {
      type: "search",
      value: query,
      placeholder: hint,
      "aria-label": hint,
      autocomplete: "off",
      spellcheck: "false",
      input: () => this.#searched(),
    });
    this.grid = h(
      "div",
      { class: `grid ${name}`, role: "table", "aria-label": label },
      h("div", { role: "rowgroup" }, header),
      this.#body,
    );
    this.element = h("div", null, h("div", { class: "tools" }, this.#search, this.#count), this.grid);
    // Nothing moves under a pointer or a focus: order is held, numbers go on.
    this.#body.addEventListener("pointerenter", () => this.#hold(true));
    this.#body.addEventListener("pointerleave", () => this.#hold(false));
    addEventListener("scroll", () => this.#soon(), { passive: true, signal });
    addEventListener("resize", () => this.#soon(), { passive: true, signal });
    this.#body.addEventListener("keydown", (event) => this.#move(event));
  }

  #head(column) {
    const button = h(
      "button",
      { type: "button", click: () => this.sortBy(column) },
      column.title,
      h("span", { class: "arrow", "aria-hidden": "true" }),
    );
    const head = h("div", { role: "columnheader", class: classes(column) }, column.value ? button : column.title);
    this.#heads.set(column.key, head);
    return head;
  }

  sortBy(column, direction) {
    const falling = `-${column.key}`;
    const other =
      this.#sort === falling ? column.key : this.#sort === column.key ? falling : column.number ? falling : column.key;
    this.#sort = direction ?? other;
    this.#told({ sort: this.#sort, q: this.#query });
    this.#arrange();
  }

  #searched() {
    this.#query = this.#search.value;
    this.#told({ sort: this.#sort, q: this.#query });
    this.#arrange();
  }

  /** New rows, or old ones with other values. */
  update(rows) {
    this.#rows = rows;
    if (this.#held && this.#order.length) {
      const now = new Map(rows.map((row) => [this.#key(row), row]));
      this.#order = this.#order.map((row) => now.get(this.#key(row)) ?? row);
      return this.#render();
    }
    this.#arrange();
  }

  /** Values of the same rows changed. */
  touched() {
    if (this.#held) this.#render();
    else this.#arrange();
  }

  #hold(isHeld) {
    this.#held = isHeld;
    if (!isHeld) this.#arrange();
  }

  #arrange() {
    const key = this.#sort.replace("-", "");
    const sign = this.#sort.startsWith("-") ? -1 : 1;
    const { value } = this.#columns.find((column) => column.key === key);
    const words = this.#query.toLowerCase().split(/\s+/).filter(Boolean);
    const found = words.length
      ? this.#rows.filter((row) => words.every((word) => row.text.includes(word)))
      : [...this.#rows];
    const keyed = found.map((row) => [value(row), row]);
    // What has no value is last, whichever way; equals are in the order of names.
    keyed.sort(([a, x], [b, y]) => {
      if (a === b) return compare(this.#key(x), this.#key(y));
      if (a === null || a === undefined) return 1;
      if (b === null || b === undefined) return -1;
      return sign * compare(a, b);
    });
    this.#order = keyed.map(([, row]) => row);
    for (const [name, head] of this.#heads)
      set(head, "aria-sort", name !== key ? null : sign < 0 ? "descending" : "ascending");
    const all = this.#rows.length;
    say(
      this.#count,
      found.length === all
        ? of(all, this.noun, plural(this.noun))
        : `${of(found.length, this.noun, plural(this.noun))} of ${all}`,
    );
    this.#render();
  }

  #soon() {
    if (this.#pending) return;
    this.#pending = true;
    requestAnimationFrame(() => {
      this.#pending = false;
      this.#render();
    });
  }

  #render() {
    if (!this.element.isConnected) return;
    const height = parseFloat(getComputedStyle(this.#body).getPropertyValue("--row")) || 34;
    const total = this.#order.length;
    this.#body.style.height = `${total * height}px`;
    set(this.grid, "aria-rowcount", total + 1);
    const above = -this.#body.getBoundingClientRect().top;
    // Some are there even if the whole table is out of view, so that keys find the way in.
    const first = Math.max(0, Math.min(total - SPARE, Math.floor(above / height) - SPARE));
    const last = Math.min(total, Math.max(SPARE, Math.ceil((above + innerHeight) / height) + SPARE));
    const focused = document.activeElement;
    const wanted = new Map();
    for (let place = first; place < last; place += 1) wanted.set(this.#key(this.#order[place]), place);
    for (const [key, element] of this.#shown) {
      if (wanted.has(key)) continue;
      // Out of view, and somebody is on it: it stays where it was.
      const place = element.contains(focused) ? this.#order.findIndex((row) => this.#key(row) === key) : -1;
      if (place >= 0) wanted.set(key, place);
      else {
        element.remove();
        this.#shown.delete(key);
      }
    }
    let before = this.#body.firstChild;
    for (const [key, place] of [...wanted].sort(([, a], [, b]) => a - b)) {
      const element = this.#shown.get(key) ?? this.#made(key);
      // Those who read by keys meet the rows in the order in which they are seen.
      if (element !== before) this.#body.insertBefore(element, before);
      else before = before.nextSibling;
      this.#write(element, this.#order[place], place, height);
    }
    if (focused !== document.activeElement && this.#body.contains(focused)) focused.focus({ preventScroll: true });
  }

  #made(key) {
    const cells = this.#columns.map((column) => h("div", { role: "cell", class: classes(column) }));
    const element = append(h("div", { class: "grid-row", role: "row" }), cells);
    this.#shown.set(key, element);
    return element;
  }

  #write(element, row, place, height) {
    const top = `translateY(${place * height}px)`;
    if (element.style.transform !== top) element.style.transform = top;
    set(element, "aria-rowindex", place + 2);
    this.#columns.forEach((column, at) => column.show(element.children[at], row));
  }

  /** Up and down, from row to row. */
  #move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const row = event.target.closest(".grid-row");
    if (!step || !row || event.altKey || event.ctrlKey || event.metaKey) return;
    const next = step > 0 ? row.nextElementSibling : row.previousElementSibling;
    const link = next?.querySelector("a, button");
    if (!link) return;
    event.preventDefault();
    link.focus({ preventScroll: true });
    next.scrollIntoView({ block: "nearest" });
  }

  focusSearch() {
    this.#search.focus();
  }

  /** Shows only rows with these words. */
  searchFor(text) {
    this.#search.value = text;
    this.#searched();
    this.element.scrollIntoView({ block: "start" });
  }
}

const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
const plural = (noun) => (noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`);
const classes = (column) => ["grid-cell", column.number ? "number" : "", column.class ?? ""].filter(Boolean).join(" ");
