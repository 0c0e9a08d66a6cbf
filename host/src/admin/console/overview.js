// `#/`: what flows, what is wrong, and every tenant.
//
// Takes the stream of events, or asks instead of it; shows the gateway as a whole. The way from here to one series is the
// search, a tenant's page, and the playground.

import * as attention from "./attention.js";
import { drawSparkline, FlowDiagram, sparkline } from "./charts.js";
import { ask, askIfThere, every, live, on, policiesWith } from "./data.js";
import { h, say, set } from "./dom.js";
import { ago, count, dated, percent, perSecond, rate, span, timesOrMore } from "./format.js";
import { choices, empty, hash, plainTable, refresh, section, since, tenantLink, together } from "./parts.js";
import { standing } from "./standing.js";
import { Table } from "./table.js";
import { explain, fate } from "./words.js";

export const title = () => "Overview";

/** Last refusals that are listed at first; a button shows the others. */
const REFUSALS = 5;

export function open(main, { params, signal }) {
  const problems = h("div", null);
  const diagram = new FlowDiagram(signal);
  const about = h("p", { class: "note" });
  let wanted = "now";
  const which = choices(
    "What the picture shows",
    [
      ["now", "Now"],
      ["hour", "Last hour"],
    ],
    wanted,
    (value) => {
      wanted = value;
      picture();
      gather(signal).catch(() => {});
    },
  );
  const refusals = h("div", null);
  const known = { status: null, policies: null, upstreams: null, tenants: null, refusals: null, reloads: null };
  let history = null;
  let gathered = 0;
  let isAll = false;
  let isAllRefusals = false;

  const table = tenantTable(params, signal);
  main.append(
    section("Needs attention", { class: "attention" }, problems),
    section("What flows", { aside: which }, diagram.element, about),
    section(
      "Last refusals",
      {
        note: "Writes that were answered with anything but 2xx, by tenant and reason, the newest first, and senders that could not prove who they are.",
      },
      refusals,
    ),
    section(
      "Tenants",
      { note: "Samples per second over the last minute, and as a line over the last hour." },
      table.element,
    ),
  );

  const look = () => {
    // Before everything is known nothing is said to be well.
    if (!known.status || !known.upstreams || !known.tenants) return;
    const all = attention.problems({ ...known, tenants: known.tenants && [...known.tenants.values()] });
    refresh(problems, [isAll, all.map(({ level, title, text }) => [level, textOf(title), text])], () =>
      attention.list(all, isAll, () => {
        isAll = !isAll;
        look();
      }),
    );
  };

  const refused = () =>
    refresh(refusals, [isAllRefusals, known.refusals], () =>
      refusalList(known.refusals, isAllRefusals, () => {
        isAllRefusals = !isAllRefusals;
        refused();
      }),
    );

  const picture = () => {
    const shares = live.state === "live" ? live.minute.shares() : history?.gateway && sums(history.gateway);
    if (wanted === "now" && shares && known.tenants) {
      diagram.draw(flowOf([...known.tenants.values()], shares), perSecond);
      say(
        about,
        "Samples per second over the last minute, as in the table of tenants. What senders wrote is stored (kept or edited), dropped on purpose, rejected and lost, or waits in its sender.",
      );
    } else if (wanted === "hour" && history?.gateway) {
      diagram.draw(sums(history.gateway), count);
      const minutes = Math.max(1, Math.round((history.gateway.received.length * history.interval_seconds) / 60));
      say(
        about,
        `Samples of the last ${minutes} min, up to ${history.interval_seconds} s ago. A write that was told to wait counts each time it comes.`,
      );
    } else say(about, history === null ? "" : "This gateway does not say what flows through it.");
  };

  const gather = async (signal) => {
    gathered = Date.now();
    history = (await askIfThere("api/v1/flow", signal)) ?? {};
    table.history(history);
    picture();
  };

  const merge = (rows) => {
    known.tenants = new Map(
      rows.map((row) => [
        row.tenant,
        { ...row, text: `${row.tenant} ${row.last_reason ?? ""} ${word(row)}`.toLowerCase() },
      ]),
    );
    table.update([...known.tenants.values()]);
    look();
    if (wanted === "now") picture();
  };

  on("tenants", signal, () => merge(live.minute.rows()));
  on("reload", signal, () => status(signal).catch(() => {}));
  if (live.last.tenants) merge(live.minute.rows());

  const status = async (signal) => {
    known.status = await ask("api/v1/status", undefined, signal);
    // Since when a file is refused is asked for only where there is one.
    if (known.status.broken_tenants.length) known.reloads = await askIfThere("api/v1/reloads", signal);
    look();
  };
  every(10, signal, status);
  every(5, signal, async (signal) => {
    // Rates come with the stream; without it, or for a gateway that has none, by asking.
    if (live.state === "live" && known.tenants) return;
    const rows = await ask("api/v1/tenants", undefined, signal);
    merge(rows.map(fromApi));
  });
  every(10, signal, async (signal) => {
    known.upstreams = await ask("api/v1/upstreams", undefined, signal);
    look();
  });
  every(30, signal, async (signal) => {
    known.policies = await ask(policiesWith(attention.NEEDED), undefined, signal);
    look();
  });
  every(10, signal, async (signal) => {
    // Sparklines change by the minute, and there may be many; only the picture's last hour is finer.
    const isFine = wanted === "hour" || live.state !== "live";
    if (!history || isFine || Date.now() - gathered >= 60_000) await gather(signal);
  });
  every(5, signal, async (signal) => {
    known.refusals = await askIfThere("api/v1/refusals", signal);
    look();
    refused();
  });
}

const textOf = (title) =>
  title
    .flat(Infinity)
    .map((part) => (part instanceof Node ? part.textContent : part))
    .join("");

/** By which the search finds those that write no more. */
const word = (row) => (standing(row).is === "silent" ? "silent" : "");

/** A row of `/api/v1/tenants` in the words of the stream. */
export function fromApi(row) {
  const { seconds_ago = null, status = null, reason = null, text = null } = row.last_refusal ?? {};
  return {
    tenant: row.tenant,
    received: row.received_per_second,
    dropped: row.dropped_per_second,
    rejected: row.rejected_per_second,
    waiting: row.waiting_per_second,
    active_series: row.active_series,
    max_active_series: row.max_active_series,
    p99_seconds: row.p99_seconds,
    last_status: status,
    last_reason: reason,
    last_seconds_ago: seconds_ago,
    last_text: text,
    last_received_seconds_ago: row.last_received_seconds_ago,
    last_taken_seconds_ago: row.last_taken_seconds_ago,
  };
}

/** The sums of all rows; what is stored by the `shares` of it. */
function flowOf(rows, shares) {
  const sum = (key) => rows.reduce((all, row) => all + (row[key] ?? 0), 0);
  const [received, dropped, rejected, waiting] = ["received", "dropped", "rejected", "waiting"].map(sum);
  const stored = Math.max(0, received - dropped - rejected - waiting);
  const part = (number, all) => (all > 0 ? (stored * number) / all : 0);
  const edited = part(shares.edited, shares.kept + shares.edited);
  const entries = Object.entries(shares.upstreams);
  const all = entries.reduce((total, [, number]) => total + number, 0);
  const upstreams = Object.fromEntries(entries.map(([name, number]) => [name, part(number, all)]));
  return { received, kept: stored - edited, edited, dropped, rejected, waiting, upstreams };
}

const sums = (gateway) => byFate(gateway, (numbers) => (numbers ?? []).reduce((sum, number) => sum + number, 0));

function byFate({ upstreams, ...fates }, of) {
  const each = (numbers) => Object.fromEntries(Object.entries(numbers ?? {}).map(([key, values]) => [key, of(values)]));
  return { ...each(fates), upstreams: each(upstreams) };
}

/** The table, and `history` for its sparklines. */
function tenantTable(params, signal) {
  let flow = {};
  let slots = 60;
  const number = (cell, text, kind) => {
    say(cell, text);
    cell.classList.toggle("zero", text === "0");
    if (kind) cell.classList.toggle(kind, text !== "0" && text !== "–");
  };
  const rateColumn = (key, title, kind, extra) => ({
    key,
    title,
    number: true,
    value: (row) => row[key] ?? null,
    show: (cell, row) => number(cell, rate(row[key]), kind),
    ...extra,
  });
  const columns = [
    {
      key: "tenant",
      title: "Tenant",
      class: "name",
      value: (row) => row.tenant,
      show: (cell, row) => {
        if (!cell.firstChild) cell.append(tenantLink(row.tenant));
      },
    },
    {
      key: "hour",
      title: "Last hour",
      class: "hour-cell",
      show: (cell, row) => {
        if (!cell.firstChild) cell.append(sparkline());
        drawSparkline(cell.firstChild, flow[row.tenant], slots);
      },
    },
    rateColumn("received", "Received/s", null),
    rateColumn("dropped", "Dropped/s", "is-dropped", { class: "least" }),
    rateColumn("rejected", "Rejected/s", "is-rejected"),
    rateColumn("waiting", "Waiting/s", "is-waiting"),
    {
      key: "series",
      title: "Active series",
      number: true,
      class: "use least",
      value: (row) => row.active_series,
      show: showUse,
    },
    {
      key: "p99",
      title: "p99",
      number: true,
      class: "least",
      value: (row) => row.p99_seconds ?? null,
      show: (cell, row) => say(cell, span(row.p99_seconds)),
    },
    {
      key: "last",
      title: "Last answer, no 2xx",
      class: "last",
      value: (row) =>
        row.last_seconds_ago === null || row.last_seconds_ago === undefined ? null : row.last_seconds_ago,
      show: showLast,
    },
  ];
  const table = new Table({
    name: "tenants",
    label: "Tenants",
    columns,
    key: (row) => row.tenant,
    noun: "tenant",
    sort: params.sort || "-received",
    query: params.q || "",
    hint: "Search tenants and reasons",
    signal,
    told: ({ sort, q }) => history.replaceState(null, "", hash("/", { sort: sort === "-received" ? "" : sort, q })),
  });
  table.history = (answer) => {
    flow = answer.tenants ?? {};
    slots = answer.seconds ? answer.seconds / answer.tenant_interval_seconds : 60;
    table.touched();
  };
  return table;
}

function showUse(cell, row) {
  if (!cell.firstChild) cell.append(h("span", { class: "use-number" }), h("span", { class: "use-of" }));
  say(cell.firstChild, count(row.active_series));
  const share = row.max_active_series > 0 ? row.active_series / row.max_active_series : 0;
  say(cell.lastChild, percent(row.active_series, row.max_active_series));
  cell.title = `${count(row.active_series)} of ${count(row.max_active_series)}`;
  cell.classList.toggle("is-rejected", share >= 0.95);
  cell.classList.toggle("is-waiting", share >= 0.8 && share < 0.95);
}

function showLast(cell, row) {
  if (!cell.firstChild)
    cell.append(h("span", { class: "status" }), h("span", { class: "reason" }), h("span", { class: "when" }));
  const [status, reason, when] = cell.children;
  const has = row.last_reason !== null && row.last_reason !== undefined;
  say(status, has ? String(row.last_status ?? "no TLS") : "");
  say(reason, has ? row.last_reason : "none in the last hour");
  say(when, has ? ago(row.last_seconds_ago) : "");
  reason.classList.toggle("none", !has);
  set(cell, "title", has ? `${explain(row.last_reason)?.what ?? row.last_reason} ${fate(row.last_status)}` : null);
}

function refusalList(rows, isAll, more) {
  if (rows === null)
    return empty(
      "This gateway keeps no list of refusals. `gauntlet_rejected_samples_total` in /metrics has them by reason.",
    );
  if (!rows.length) return empty("Nothing was refused lately.");
  const groups = together(rows, ({ tenant, claimed_tenant, identity, status, reason }) => [
    tenant ?? claimed_tenant ?? identity,
    status,
    reason,
  ]);
  const shown = isAll ? groups : groups.slice(0, REFUSALS);
  const line = (text) => h("span", { class: "line", title: text }, text);
  return [
    h(
      "div",
      { class: "compact" },
      plainTable(
        "Last refusals",
        ["When", "Tenant", "Status", "Reason", "What the sender was told", "From"],
        shown.map((row) => [
          [since(row.seconds_ago), row.often > 1 && ` (${timesOrMore(row.often)})`],
          row.tenant
            ? tenantLink(row.tenant)
            : row.claimed_tenant
              ? [tenantLink(row.claimed_tenant), ", not proved"]
              : "nobody proved",
          row.status ?? "no TLS",
          h("code", { title: explain(row.reason)?.what }, row.reason),
          line(row.series ? `${row.text} ${row.series}` : row.text),
          line([row.address, dated(row.identity)].filter(Boolean).join(" as ")),
        ]),
      ),
    ),
    groups.length > REFUSALS &&
      h(
        "button",
        { type: "button", class: "small below", click: more },
        isAll ? "Show fewer" : `Show all ${groups.length}`,
      ),
  ];
}
