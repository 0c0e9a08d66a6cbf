// The page's frame: addresses, titles, focus, theme and the stream.
//
// Takes the part of the address behind `#`, opens the page that it names and ends the one before: what that one asked and
// listened to ends with its signal.

import { ask, live } from "./data.js";
import { h, say, set } from "./dom.js";
import { empty, hash, tick } from "./parts.js";
import * as overview from "./overview.js";
import * as playground from "./playground.js";
import * as policies from "./policies.js";
import * as tenant from "./tenant.js";
import * as upstreams from "./upstreams.js";

const missing = {
  title: () => "Not found",
  open: (main) => main.append(empty("There is no such page. The overview has the way to all others.")),
};

/** The first that fits; groups are the page's names. */
const ROUTES = [
  [/^\/?$/, overview],
  [/^\/tenants\/(?<tenant>[^/]+)$/, tenant],
  [/^\/policies\/(?<tenant>[^/]+)\/(?<policy>[^/]+)$/, policies],
  [/^\/policies$/, policies],
  [/^\/upstreams$/, upstreams],
  [/^\/playground$/, playground],
];

let current = new AbortController();
let opened = false;

function here() {
  const [path, query = ""] = location.hash.slice(1).split(/\?(.*)/s);
  for (const [pattern, page] of ROUTES) {
    const found = pattern.exec(path);
    if (found)
      return {
        page,
        path,
        names: Object.fromEntries(Object.entries(found.groups ?? {}).map(([key, text]) => [key, decoded(text)])),
        params: Object.fromEntries(new URLSearchParams(query.replaceAll("+", "%2B"))),
      };
  }
  return { page: missing, path, names: {}, params: {} };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function go() {
  current.abort();
  current = new AbortController();
  const { page, path, names, params } = here();
  const text = page.title(names);
  document.title = `${text} · Gauntlet`;
  const heading = h("h1", { tabindex: "-1" }, text);
  const body = h("div", { class: "page" });
  document.getElementById("main").replaceChildren(heading, body);
  for (const link of document.querySelectorAll("#pages a")) {
    const target = link.getAttribute("href").slice(1);
    const isHere =
      target === "/" ? path === "/" || path === "" || path.startsWith("/tenants/") : path.startsWith(target);
    set(link, "aria-current", isHere ? "page" : null);
  }
  scrollTo(0, 0);
  // Those who hear the page hear where they are; at first the browser says it.
  if (opened) heading.focus({ preventScroll: true });
  opened = true;
  page.open(body, { ...names, params, signal: current.signal });
}

const STATES = {
  live: ["live", "Numbers come as they change."],
  polling: ["asking", "There is no stream of events: numbers are asked for every few seconds."],
  gone: ["no answer", "The gateway does not answer; what is shown is old."],
};

function showState() {
  const [word, about] = STATES[live.state];
  const state = document.getElementById("state");
  set(state, "class", `state ${live.state}`);
  set(state, "title", about);
  say(state.lastElementChild, word);
  const problem = document.getElementById("problem");
  say(problem, live.problem);
  problem.hidden = !live.problem;
}

const THEMES = ["auto", "light", "dark"];

/** Kept for the next time, where the browser lets a page keep anything. */
function stored(theme) {
  try {
    if (theme === undefined) return localStorage.getItem("theme");
    localStorage.setItem("theme", theme);
  } catch {
    // Then it holds as long as the page does.
  }
  return theme;
}

function theme(chosen) {
  const name = THEMES.includes(chosen) ? chosen : "auto";
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  const button = document.getElementById("theme");
  say(button.lastElementChild, name);
  set(button, "aria-label", `Theme: ${name}`);
  button.onclick = () => {
    const next = THEMES[(THEMES.indexOf(name) + 1) % THEMES.length];
    stored(next);
    theme(next);
  };
}

/** The search in the frame: to the one tenant of that name, or to the table of those that have it in theirs. */
async function search(event) {
  event.preventDefault();
  const input = document.getElementById("find");
  const text = input.value.trim();
  if (!text) return;
  const names =
    live.last.tenants?.rows.map((row) => row[0]) ??
    (await ask("api/v1/tenants").catch(() => [])).map((row) => row.tenant);
  const found = names.filter((name) => name.toLowerCase().includes(text.toLowerCase()));
  const one = names.includes(text) ? text : found.length === 1 ? found[0] : null;
  input.value = "";
  location.hash = one ? hash(`/tenants/${encodeURIComponent(one)}`) : hash("/", { q: text });
}

/** `/` goes to the search, as in many programs, unless somebody is writing. */
function key(event) {
  if (
    event.key !== "/" ||
    event.ctrlKey ||
    event.metaKey ||
    event.altKey ||
    event.target.closest("input, textarea, select")
  )
    return;
  event.preventDefault();
  document.getElementById("find").focus();
}

document.getElementById("search").addEventListener("submit", search);
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.querySelector("h1").focus();
});
addEventListener("keydown", key);
addEventListener("hashchange", go);
live.addEventListener("state", showState);
theme(stored());
showState();
live.start();
setInterval(tick, 1000);
go();
