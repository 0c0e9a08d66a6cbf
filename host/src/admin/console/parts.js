// Pieces that several pages are made of.
//
// Takes data, gives elements in the page's one style. Never asks the gateway.

import { append, h } from "./dom.js";
import { ago, clock } from "./format.js";
import { explain } from "./words.js";

/** Text in which `backticks` mark words of the configuration. */
export function prose(text) {
  return String(text)
    .split("`")
    .map((part, place) => (place % 2 ? h("code", null, part) : part));
}

let sections = 0;

/** A part of a page under a heading, which names it for those who hear the page. */
export function section(title, options, ...children) {
  sections += 1;
  const id = `heading-${sections}`;
  const head = h("div", { class: "section-head" }, h("h2", { id }, title), options?.aside);
  return h(
    "section",
    { "aria-labelledby": id, class: options?.class },
    head,
    options?.note && h("p", { class: "note" }, prose(options.note)),
    children,
  );
}

/** A state in a word; the word says what the colour says. */
export const badge = (kind, text) => h("span", { class: `badge ${kind}` }, text);

export const empty = (text) => h("p", { class: "empty" }, prose(text));

export const series = (text) => h("code", { class: "series", dir: "ltr" }, text);

/** How long ago, told anew each second. */
export function since(seconds) {
  if (typeof seconds !== "number") return h("span", null, "–");
  const at = Date.now() / 1000 - seconds;
  return h("time", { "data-at": at, title: clock(at), datetime: new Date(at * 1000).toISOString() }, ago(seconds));
}

/** Brings all of them up to date. */
export function tick() {
  const now = Date.now() / 1000;
  for (const time of document.querySelectorAll("time[data-at]")) {
    const text = ago(Math.max(0, now - Number(time.dataset.at)));
    if (time.textContent !== text) time.textContent = text;
  }
}

/** A table of few rows. `columns`: texts, or `{text, number}`; cells: anything that can be a child. */
export function plainTable(label, columns, rows) {
  const heads = columns.map((column) => (typeof column === "string" ? { text: column } : column));
  const head = heads.map(({ text, number }) => h("th", { scope: "col", class: number && "number" }, text));
  const body = rows.map((cells) =>
    h(
      "tr",
      null,
      cells.map((cell, place) =>
        h(place ? "td" : "th", { scope: place ? null : "row", class: heads[place].number && "number" }, cell),
      ),
    ),
  );
  // It may be wider than a narrow screen: then it scrolls by itself, by keys too.
  return h(
    "div",
    { class: "scroll", role: "region", "aria-label": label, tabindex: "0" },
    h("table", null, h("thead", null, h("tr", null, head)), h("tbody", null, body)),
  );
}

/** Names and values. */
export function facts(...pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs.filter(Boolean).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
  );
}

/** What a reason means and what to do; the bare word of a reason that is a policy's own. */
export function reasonNote(reason) {
  const known = explain(reason);
  if (!known) return h("p", { class: "note" }, "This word is the policy's own: it stands in its settings.");
  return h(
    "p",
    { class: "note" },
    prose(known.what),
    " ",
    h("strong", null, "What to do: "),
    prose(known.fix),
    h("span", { class: "who" }, ` Who can mend it: ${known.who}.`),
  );
}

/** Refusals of one `kind` as one: the newest, with how `often` there was one. */
export function together(refusals, kind) {
  const groups = new Map();
  for (const refusal of refusals) {
    const key = JSON.stringify(kind(refusal));
    const group = groups.get(key);
    if (group) group.often += 1;
    else groups.set(key, { ...refusal, often: 1 });
  }
  return [...groups.values()];
}

/** The name of a file, which ends a line at its slashes alone. */
export const path = (name) =>
  h("code", { class: "path" }, name.split(/(?<=\/)/).map((part, place) => [place ? h("wbr") : null, part]));

/** How much of a limit is used: the picture for a number that stands beside it. */
export function meter(use, max) {
  const share = max > 0 ? Math.min(1, Math.max(0, use / max)) : 0;
  const level = share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "good";
  return h(
    "span",
    { class: `meter ${level}`, "aria-hidden": "true" },
    h("span", { css: { width: `${share * 100}%` } }),
  );
}

/** A text to copy, with a button that does. */
export function copyable(text, label) {
  const button = h("button", { type: "button", class: "small", click: () => copy(text, button) }, "Copy");
  return h("div", { class: "copyable" }, h("pre", { tabindex: "0", "aria-label": label }, text), button);
}

/** Browsers let a page on plain HTTP at an address that is not this machine's copy only what is selected. */
export async function copy(text, button) {
  const before = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const area = h("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" }, text);
    document.body.append(area);
    area.select();
    button.textContent = document.execCommand("copy") ? "Copied" : "Not copied: select the text";
    area.remove();
    button.focus();
  }
  setTimeout(() => (button.textContent = before), 2000);
}

/** Choices of which one holds: buttons that say which. `choose` gets the value. */
export function choices(label, values, chosen, choose) {
  const group = h("div", { class: "choices", role: "group", "aria-label": label });
  const buttons = values.map(([value, text]) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(value === chosen),
        click: (event) => {
          for (const button of buttons) button.setAttribute("aria-pressed", String(button === event.currentTarget));
          choose(value);
        },
      },
      text,
    ),
  );
  return append(group, buttons);
}

const FOCUSABLE = "a[href], button, input, select, textarea, summary, [tabindex]";
const shown = new WeakMap();

/**
 * Builds what `element` holds anew if `data` is not what it was, and leaves it alone while somebody marks text in it. What is
 * unfolded stays so, and so does the focus.
 */
export function refresh(element, data, build) {
  const key = JSON.stringify(data, (name, value) =>
    name.endsWith("seconds_ago") && value !== null ? Math.round((Date.now() / 1000 - value) / 4) : value,
  );
  if (shown.get(element) === key) return;
  const selection = getSelection();
  if (selection && !selection.isCollapsed && element.contains(selection.anchorNode)) return;
  shown.set(element, key);
  const open = new Set([...element.querySelectorAll("details[open][data-key]")].map((details) => details.dataset.key));
  const focused = [...element.querySelectorAll(FOCUSABLE)].indexOf(document.activeElement);
  element.replaceChildren();
  append(element, [build(data)]);
  for (const details of element.querySelectorAll("details[data-key]")) details.open ||= open.has(details.dataset.key);
  if (focused >= 0) element.querySelectorAll(FOCUSABLE)[focused]?.focus({ preventScroll: true });
}

/** Where a page stands in the address: `#/tenants/kazusa?q=x`. */
export function hash(path, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value !== null && value !== undefined);
  const query = given.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  return `#${path}${query ? `?${query}` : ""}`;
}

export const tenantLink = (tenant, text = tenant) =>
  h("a", { href: hash(`/tenants/${encodeURIComponent(tenant)}`) }, text);

export const upstreamLink = (upstream) => h("a", { href: hash("/upstreams") }, upstream);

export const reloadsLink = () => h("a", { href: hash("/policies") }, "The reloads are under Policies");

export const policyLink = (tenant, policy, text = policy) =>
  h("a", { href: hash(`/policies/${encodeURIComponent(tenant)}/${encodeURIComponent(policy)}`) }, text);
