// What the gateway says.
//
// Takes paths of the admin API, gives their data; keeps one stream of events for the whole page, and asks again and again
// where there is none. Never shows anything.

/** Why there is no answer, in a sentence for whoever looks at the page. */
class NoAnswer extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

function why(status, said) {
  if (status === 401) {
    return (
      "The admin API asks who you are (401). Load this page again and give the username and the password of " +
      "`admin.basic_auth`. If only a token is configured, a browser cannot send it: add `admin.basic_auth` beside it."
    );
  }
  if (status === 403) {
    return (
      `The admin API does not answer this page (403): ${said}. Open the console by the listener's own address, or add the ` +
      "name that you use to `admin.allowed_hosts`."
    );
  }
  if (status === 404) return said || "This gateway does not answer that.";
  return said || `The gateway answered ${status}.`;
}

/** `GET`, or `POST` of `question`: the data. */
export async function ask(path, question, signal) {
  const options = { headers: { accept: "application/json" }, cache: "no-store", signal };
  if (question !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(question);
    options.headers["content-type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NoAnswer(0, "The gateway does not answer. It may be restarting, or the network to it is down.");
  }
  const text = await response.text();
  let said;
  try {
    said = JSON.parse(text);
  } catch {
    said = null;
  }
  if (said?.status === "success") return said.data;
  throw new NoAnswer(response.status, why(response.status, said?.error ?? text.trim().slice(0, 500)));
}

/** Of every policy no more than these fields. */
export const policiesWith = (fields) => `api/v1/policies?fields=${fields.join(",")}`;

/** The same; null where the gateway has no such route or nothing by that name. */
export async function askIfThere(path, signal) {
  try {
    return await ask(path, undefined, signal);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

export const tenantPath = (tenant, rest = "") => `api/v1/tenants/${encodeURIComponent(tenant)}${rest}`;

/** What the rates of a table are of. */
const RATES = ["received", "dropped", "rejected", "waiting"];
const SECONDS = 60;

/** The last minute by what the stream told in it: what is shown as now is of the same time everywhere. */
class Minute {
  /** The newest first: seconds, and rows by tenant. */
  #tables = [];
  #flows = [];

  add(kind, data) {
    if (kind === "flow") this.#flows = [data, ...this.#flows].slice(0, SECONDS);
    if (kind !== "tenants") return;
    const rows = new Map(rowsOf(data).map((row) => [row.tenant, row]));
    this.#tables.unshift({ seconds: data.seconds ?? 5, rows });
    let covered = 0;
    this.#tables = this.#tables.filter(({ seconds }) => (covered += seconds) - seconds < SECONDS);
  }

  /** The rows of the newest table, with rates over a minute. */
  rows() {
    const [newest] = this.#tables;
    return [...(newest?.rows.values() ?? [])].map((row) => ({ ...row, ...this.#rates(row.tenant) }));
  }

  #rates(tenant) {
    const sums = RATES.map(() => 0);
    let left = SECONDS;
    for (const { seconds, rows } of this.#tables) {
      const [part, row] = [Math.min(left, seconds), rows.get(tenant)];
      if (row) RATES.forEach((key, place) => (sums[place] += (row[key] ?? 0) * part));
      left -= part;
    }
    const all = Math.max(SECONDS - left, 1);
    return Object.fromEntries(RATES.map((key, place) => [key, sums[place] / all]));
  }

  /** What was stored in it, by fate and upstream; only the shares say something. */
  shares() {
    const sum = (of) => this.#flows.reduce((all, flow) => all + (of(flow) ?? 0), 0);
    const names = Object.keys(this.#flows[0]?.upstreams ?? {});
    return {
      kept: sum((flow) => flow.kept),
      edited: sum((flow) => flow.edited),
      upstreams: Object.fromEntries(names.map((name) => [name, sum((flow) => flow.upstreams[name])])),
    };
  }
}

/** How the page hears of what happens: `live`, `polling` or `gone`; listeners are told when it changes. */
class Live extends EventTarget {
  state = "polling";
  /** A sentence while questions are not answered. */
  problem = "";
  /** The last data of each event. */
  last = {};
  minute = new Minute();
  #source = null;
  #pause = 1000;

  start() {
    this.#open();
    // A page that nobody sees asks for nothing.
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#close("polling") : this.#open()));
  }

  #open() {
    if (this.#source || document.hidden) return;
    const source = new EventSource("api/v1/events");
    this.#source = source;
    source.addEventListener("open", () => {
      this.#pause = 1000;
      this.#become("live");
    });
    for (const kind of ["flow", "tenants", "reload"]) {
      source.addEventListener(kind, (event) => this.#tell(kind, event.data));
    }
    source.addEventListener("error", () => {
      this.#close("polling");
      // The browser's own attempts end at the first answer that is no stream; these go on, ever slower.
      setTimeout(() => this.#open(), this.#pause);
      this.#pause = Math.min(this.#pause * 2, 30000);
    });
  }

  #close(state) {
    this.#source?.close();
    this.#source = null;
    this.#become(state);
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }

  /** What the last question met, `null` if it was answered: that says more than the stream does. */
  trouble(error) {
    const problem = error?.message ?? "";
    const isNew = this.problem !== problem;
    this.problem = problem;
    if (problem) this.#become("gone");
    else if (this.state === "gone") this.#become(this.#source?.readyState === EventSource.OPEN ? "live" : "polling");
    if (isNew) this.dispatchEvent(new Event("state"));
  }

  #tell(kind, text) {
    try {
      this.last[kind] = JSON.parse(text);
      this.minute.add(kind, this.last[kind]);
    } catch {
      return;
    }
    this.dispatchEvent(new CustomEvent(kind, { detail: this.last[kind] }));
  }
}

export const live = new Live();

/** The rows of a `tenants` event as objects. */
export function rowsOf({ columns, rows }) {
  return rows.map((row) => Object.fromEntries(columns.map((column, place) => [column, row[place]])));
}

/**
 * Asks now and then until `signal` ends it: `task` gets the signal. An answer that takes long is waited for, so that a
 * slow gateway is not asked twice at once; while the page is hidden nothing is asked.
 */
export function every(seconds, signal, task) {
  const round = async () => {
    if (signal.aborted) return;
    if (!document.hidden) {
      try {
        await task(signal);
        live.trouble(null);
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof NoAnswer)) reportError(error);
        else live.trouble(error);
      }
    }
    setTimeout(round, seconds * 1000);
  };
  return round();
}

/** Listens to an event of the stream until `signal` ends. */
export const on = (kind, signal, listener) =>
  live.addEventListener(kind, (event) => listener(event.detail), { signal });
