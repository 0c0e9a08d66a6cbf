// `#/tenants/NAME`: everything about one tenant, from what is wrong now to what to paste into its Prometheus.

import { banner, KINDS, ruleOf } from "./banner.js";
import { samples } from "./counted.js";
import { FlowDiagram, HourChart, legend } from "./charts.js";
import { ask, askIfThere, every, tenantPath } from "./data.js";
import { h } from "./dom.js";
import { bytes, clock, count, dated, exact, inUnit, NONE, percent, perSecond, span, timesOrMore } from "./format.js";
import {
  badge,
  choices,
  copyable,
  empty,
  facts,
  hash,
  meter,
  path,
  plainTable,
  policyLink,
  prose,
  refresh,
  section,
  series,
  since,
  together,
  upstreamLink,
} from "./parts.js";
import { explain } from "./words.js";

export const title = ({ tenant }) => tenant;

/** In seconds: a certificate that ends within it wants renewing. */
const ENDS_SOON = 14 * 86_400;

const box = () => h("div", null);

export function open(main, { tenant, signal }) {
  const parts = {
    state: box(),
    facts: box(),
    counted: box(),
    refusals: box(),
    use: box(),
    chain: box(),
    credentials: box(),
    paste: box(),
    fresh: box(),
    config: box(),
  };
  const diagram = new FlowDiagram(signal);
  const hour = new HourChart(signal);
  const seen = {};
  let minutes = 300;

  main.append(
    parts.state,
    section("Last refusals", { note: "What senders of this tenant were told, the newest first." }, parts.refusals),
    parts.facts,
    asker(tenant),
    section("What flows", { note: "Samples per second, over the last whole minute." }, diagram.element),
    section("Last hour", { aside: legend() }, hour.element),
    section(
      "Where samples went",
      {
        note: "Since the process began, each time they were sent: a write that was told to wait counts again when it comes again.",
      },
      parts.counted,
    ),
    section("Limits", { note: "How much of each limit is used now." }, parts.use),
    section(
      "Policies",
      { note: "In the order they run: the operator's before, the tenant's own, the operator's after." },
      parts.chain,
    ),
    section(
      "New series",
      {
        aside: choices(
          "Time",
          [
            [300, "5 min"],
            [1800, "30 min"],
            [3600, "60 min"],
          ],
          minutes,
          (value) => {
            minutes = value;
            fresh();
          },
        ),
        note: "Which metrics and labels bring series that were not there before: where `max_active_series` goes.",
      },
      parts.fresh,
    ),
    section("Credentials", { note: "What proves this tenant, and when a write last came with it." }, parts.credentials),
    section("For its Prometheus", { note: "Paste this into the sender's configuration." }, parts.paste),
    section("Configuration", { note: "In use now, with its defaults; secrets are left out." }, parts.config),
  );

  const fresh = () => refresh(parts.fresh, [minutes, seen.cardinality], () => newSeries(seen.cardinality, minutes));
  const counted = () =>
    seen.detail &&
    refresh(parts.counted, [seen.detail.counted ?? null, seen.drops ?? null, seen.config ?? null], () =>
      samples(tenant, seen.detail.counted, seen.drops, (row) => ruleOf(seen.config, row)),
    );
  const state = () =>
    seen.detail !== undefined &&
    refresh(parts.state, [seen.detail, seen.status ?? null, seen.reloads ?? null], () =>
      banner(tenant, seen.detail, seen.status, seen.reloads),
    );

  every(5, signal, async (signal) => {
    seen.detail = await detailOf(tenant, signal);
    state();
    const detail = seen.detail;
    if (!detail) return;
    refresh(parts.facts, detail, head);
    draw(diagram, detail);
    counted();
    refresh(parts.refusals, detail.refusals ?? null, refusals);
    refresh(parts.use, { use: detail.use ?? null, budgets: detail.fullest_budgets }, (data) => limits(data, detail));
    refresh(parts.chain, detail.chain ?? null, (rows) => chain(rows, detail));
    refresh(parts.credentials, detail.credentials, credentials);
    refresh(parts.paste, detail.remote_write ?? null, (block) =>
      block ? copyable(block, "remote_write block") : empty("This gateway does not write the block."),
    );
  });
  every(10, signal, async (signal) => {
    seen.status = await ask("api/v1/status", undefined, signal);
    if (seen.status.broken_tenants.some((one) => one.tenant === tenant))
      seen.reloads = await askIfThere("api/v1/reloads", signal);
    state();
  });
  every(10, signal, async (signal) => {
    seen.drops = await askIfThere(tenantPath(tenant, "/drops"), signal);
    counted();
  });
  every(15, signal, async (signal) => {
    const flow = await askIfThere(`api/v1/flow?tenant=${encodeURIComponent(tenant)}`, signal);
    hour.show(flow?.tenants?.[tenant], flow?.now ?? 0, flow?.tenant_interval_seconds ?? 60);
  });
  every(15, signal, async (signal) => {
    seen.cardinality = await askIfThere(tenantPath(tenant, "/cardinality"), signal);
    fresh();
  });
  every(60, signal, async (signal) => {
    const config = await askIfThere(`api/v1/config?tenant=${encodeURIComponent(tenant)}`, signal);
    seen.config = config?.config;
    refresh(parts.config, config, configuration);
    counted();
  });
}

/** From the route for it, or of a gateway without that from the list. */
async function detailOf(tenant, signal) {
  const detail = await askIfThere(tenantPath(tenant), signal);
  if (detail) return detail;
  const all = await ask("api/v1/tenants", undefined, signal);
  return all.find((row) => row.tenant === tenant) ?? null;
}

/** "Where is my series": the short way to the playground. */
function asker(tenant) {
  const input = h("input", {
    type: "text",
    name: "series",
    placeholder: 'up{job="node"}',
    "aria-label": "A series to follow through the chain",
    autocomplete: "off",
    spellcheck: "false",
  });
  const go = (event) => {
    event.preventDefault();
    location.hash = hash("/playground", { tenant, series: input.value.trim() });
  };
  return h(
    "form",
    { class: "asker", submit: go },
    h("label", null, h("span", null, "Where does a series go?"), input),
    h("button", { type: "submit" }, "Follow it"),
  );
}

function head(detail) {
  return facts(
    ["State", detail.enabled ? badge("good", "served") : badge("bad", "disabled: every write is answered 403")],
    ["Written in", path(detail.file)],
    ["Generation", count(detail.generation)],
    ["Upstreams", detail.upstreams.map((name, place) => [place ? ", " : "", upstreamLink(name)])],
    [
      "Active series",
      `${count(detail.active_series)} of ${count(detail.max_active_series)} (${percent(detail.active_series, detail.max_active_series)})`,
    ],
    detail.p99_seconds !== undefined && ["99 of 100 answers within", span(detail.p99_seconds)],
    detail.answers && ["Answers", answerCounts(detail.answers)],
  );
}

const answerCounts = (answers) =>
  Object.entries(answers).map(([status, number], place) => [place ? ", " : "", `${status}: ${count(number)}`]);

function draw(diagram, detail) {
  const sum = detail.received_per_second;
  if (sum === undefined) return;
  const {
    dropped_per_second: dropped = 0,
    rejected_per_second: rejected = 0,
    waiting_per_second: waiting = 0,
  } = detail;
  const stored = Math.max(0, sum - dropped - rejected - waiting);
  const { kept = 0, edited = 0, forwarded = {} } = detail.counted ?? {};
  // Of what is stored only the shares since the start are known.
  const share = kept + edited > 0 ? edited / (kept + edited) : 0;
  const all = Object.values(forwarded).reduce((total, number) => total + number, 0);
  const upstreams = Object.fromEntries(
    Object.entries(forwarded).map(([name, number]) => [name, all ? (stored * number) / all : 0]),
  );
  diagram.draw(
    { received: sum, kept: stored * (1 - share), edited: stored * share, dropped, rejected, waiting, upstreams },
    perSecond,
  );
}

function refusals(rows) {
  if (rows === null) return empty("This gateway keeps no list of refusals.");
  if (!rows.length) return empty("Nothing was refused lately.");
  // What to do is told where a reason comes first.
  const groups = together(rows, ({ status, reason, text, identity }) => [status, reason, text, identity]);
  const first = new Map(groups.toReversed().map((row) => [row.reason, row]));
  return h(
    "ol",
    { class: "refusals", tabindex: "0", "aria-label": "Last refusals" },
    groups.map((row) =>
      h(
        "li",
        null,
        h(
          "p",
          null,
          badge(row.status >= 500 ? "warn" : "bad", row.status === null ? "no TLS" : String(row.status)),
          " ",
          h("code", null, row.reason),
          " ",
          h(
            "span",
            { class: "note" },
            row.often > 1 ? `${timesOrMore(row.often)}, last ` : "",
            since(row.seconds_ago),
            row.address ? `, from ${row.address}` : "",
            row.identity ? ` as ${dated(row.identity)}` : "",
          ),
        ),
        h("p", { class: "told" }, row.text),
        row.series && h("p", null, series(row.series)),
        first.get(row.reason) === row &&
          explain(row.reason) &&
          h("p", { class: "note" }, prose(explain(row.reason).fix)),
      ),
    ),
  );
}

function limits({ use, budgets }, detail) {
  const rows = use ?? [
    { limit: "max_active_series", use: detail.active_series, max: detail.max_active_series, unit: "series" },
  ];
  const row = ({ limit, use, max, unit, per_second: perSecond }) => {
    const of = perSecond === undefined ? unit : `${unit}, ${exact(perSecond)} of them come back each second`;
    return [
      h("code", null, limit),
      [meter(use, max), ` ${percent(use, max)}`],
      inUnit(use, unit),
      inUnit(max, unit),
      of,
    ];
  };
  return [
    plainTable(
      "Limits",
      ["Limit", "Used", { text: "Now", number: true }, { text: "At most", number: true }, "Of"],
      rows.map(row),
    ),
    budgets?.length > 0 && [
      h("h3", null, "Fullest budgets of series"),
      plainTable(
        "Budgets",
        ["Budget", "Used", { text: "Active series", number: true }, { text: "At most", number: true }],
        budgets.map((one) => [
          h("code", null, one.budget),
          [meter(one.active_series, one.max_active_series), ` ${percent(one.active_series, one.max_active_series)}`],
          count(one.active_series),
          count(one.max_active_series),
        ]),
      ),
    ],
  ];
}

function chain(rows, detail) {
  if (rows === null)
    return detail.policies.length
      ? h(
          "ol",
          null,
          detail.policies.map((name) => h("li", null, policyLink(detail.tenant, name))),
        )
      : empty("It has no policies: every series goes on as it came.");
  if (!rows.length) return empty("It has no policies: every series goes on as it came.");
  return plainTable(
    "Policies",
    [
      "Policy",
      "Plugin",
      "Whose",
      "State",
      { text: "Calls", number: true },
      { text: "Failures", number: true },
      { text: "Time a call", number: true },
      { text: "Memory", number: true },
    ],
    rows.map((row) => [
      policyLink(row.tenant, row.policy),
      row.plugin,
      row.owner ?? NONE,
      policyState(row),
      count(row.calls),
      count(row.failures),
      timeOfCall(row),
      bytes(row.memory_peak_bytes),
    ]),
  );
}

/** A policy's state as a word. */
export function policyState(row) {
  if (row.impure) return badge("bad", "two answers");
  if (row.quarantined_seconds !== null) return badge("bad", "in quarantine");
  if (row.refused_series?.length) return badge("warn", "fails on series");
  if (row.mode && row.mode !== "enforce") return badge("hint", row.mode);
  return badge("good", "well");
}

/** Processor time of one call on average. */
export function timeOfCall(row) {
  const nanoseconds = row.nanoseconds_per_call ?? (row.calls > 0 ? (row.cpu_seconds / row.calls) * 1e9 : null);
  return nanoseconds === null ? NONE : span(nanoseconds / 1e9);
}

function newSeries(answer, minutes) {
  if (answer === undefined) return null;
  const found = answer?.windows.find(({ seconds }) => seconds === minutes);
  if (!found) return empty("This gateway does not count new series by name.");
  if (!found.new_series) return empty(`No series was new in the last ${minutes / 60} min.`);
  const table = (label, rows, more) =>
    plainTable(
      label,
      [label, { text: "New series", number: true }, { text: "Of all", number: true }, ...more.map(([head]) => head)],
      rows.map((row) => [
        h("code", null, row.name),
        count(row.new_series),
        percent(row.new_series, found.new_series),
        ...more.map(([, cell]) => cell(row)),
      ]),
    );
  return [
    h(
      "p",
      null,
      h("strong", null, count(found.new_series)),
      ` ${found.new_series === 1 ? "series was" : "series were"} new in the last ${Math.round((found.covered_seconds ?? minutes) / 60)} min. ${found.error > 0 ? `Each number below is at most ${count(found.error)} too high. ` : ""}A label with many values is the one that grows.`,
    ),
    h(
      "div",
      { class: "pair" },
      table("Metric", found.metrics, []),
      table("Label", found.labels, [[{ text: "Values, about", number: true }, (row) => count(row.values)]]),
    ),
  ];
}

function credentials(rows) {
  if (!rows.length) return empty("It has none: nobody can write as this tenant.");
  const ends = rows.some((row) => row.expires_timestamp_seconds);
  const heads = ["Kind", "Name", "Last used", ...(ends ? ["Certificate ends"] : [])];
  return plainTable(
    "Credentials",
    heads,
    rows.map((row) => {
      const name = row.uri_san ?? row.dns_san ?? row.common_name ?? row.username;
      const used =
        row.last_used_seconds_ago === null
          ? h("span", { class: "none" }, "never since the start")
          : since(row.last_used_seconds_ago);
      return [
        KINDS[row.kind] ?? row.kind,
        name ? h("code", null, name) : NONE,
        used,
        ...(ends ? [end(row.expires_timestamp_seconds)] : []),
      ];
    }),
  );
}

/** Of the certificate that was used last: when it ends, and a badge if that is soon. */
function end(timestamp) {
  if (!timestamp) return NONE;
  const left = timestamp - Date.now() / 1000;
  if (left < 0) return [badge("bad", "expired"), " ", clock(timestamp)];
  return [left < ENDS_SOON ? [badge("warn", "soon"), " "] : null, `in ${span(left)}, ${clock(timestamp)}`];
}

export function configuration(answer) {
  if (!answer) return empty("This gateway does not show its configuration.");
  return h(
    "details",
    { "data-key": "config" },
    h("summary", null, "Show ", answer.file ?? "it"),
    h("pre", { class: "json", tabindex: "0", "aria-label": "Configuration" }, JSON.stringify(answer.config, null, 2)),
  );
}
