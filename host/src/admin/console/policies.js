// `#/policies`: every policy of every tenant, what they took, and how the configuration came into use.

import { ask, askIfThere, every, on, policiesWith, tenantPath } from "./data.js";
import { append, h, say } from "./dom.js";
import { bytes, clock, count, NONE, of, span } from "./format.js";
import {
  badge,
  copyable,
  empty,
  facts,
  hash,
  plainTable,
  policyLink,
  refresh,
  section,
  series,
  since,
  tenantLink,
} from "./parts.js";
import { Table } from "./table.js";
import { configuration, policyState, timeOfCall } from "./tenant.js";

export const title = ({ tenant, policy }) => (policy ? `${policy} of ${tenant}` : "Policies");

const OF_PLUGINS = ["plugin", "sha256", "world", "size_bytes", "calls", "failures", "cpu_seconds"];
const OF_POLICIES = [
  "tenant",
  "policy",
  "plugin",
  "mode",
  "calls",
  "failures",
  "cpu_seconds",
  "memory_peak_bytes",
  "impure",
  "quarantined_seconds",
  "refused_series",
];
/** At first; a button shows the others. */
const RELOADS = 5;

export function open(main, context) {
  if (context.policy) return openOne(main, context);
  const { params, signal } = context;
  const plugins = h("div", null);
  const reloads = h("div", null);
  const config = h("div", null);
  const table = policyTable(params, signal);
  let isAll = false;
  let known;
  main.append(
    section(
      "Reloads",
      { note: "How the configuration came into use, the newest first, with what was wrong with it." },
      reloads,
    ),
    section("Configuration", { note: "Of the gateway, in use now, with its defaults; secrets are left out." }, config),
    section("Plugins", { note: "The WebAssembly components that policies run." }, plugins),
    section("Policies", { note: "A plugin with settings, in a tenant's chain." }, table.element),
  );
  const show = () =>
    refresh(reloads, [isAll, known], () =>
      reloadList(known, isAll, () => {
        isAll = !isAll;
        show();
      }),
    );
  const history = async (signal) => {
    known = (await askIfThere("api/v1/reloads", signal)) ?? [lastOf(await ask("api/v1/status", undefined, signal))];
    show();
  };
  every(10, signal, history);
  on("reload", signal, () => history(signal).catch(() => {}));
  every(10, signal, async (signal) => {
    const rows = await ask(policiesWith(OF_POLICIES), undefined, signal);
    for (const row of rows) row.text = `${row.tenant} ${row.policy} ${row.plugin} ${row.mode}`.toLowerCase();
    table.update(rows);
  });
  every(60, signal, async (signal) =>
    refresh(plugins, pluginsOf(await ask(policiesWith(OF_PLUGINS), undefined, signal)), pluginTable),
  );
  every(60, signal, async (signal) => refresh(config, await askIfThere("api/v1/config", signal), configuration));
}

/** Of a gateway that keeps no history: the last one. */
const lastOf = ({ last_reload: reload, broken_tenants: broken }) => ({ ...reload, broken_tenants: broken });

function reloadList(reloads, isAll, more) {
  const shown = isAll ? reloads : reloads.slice(0, RELOADS);
  return [
    h(
      "ol",
      { class: "reloads" },
      shown.map((reload) =>
        h(
          "li",
          null,
          h(
            "p",
            null,
            reload.successful ? badge("good", "in use") : badge("bad", "not all in use"),
            " ",
            h("strong", null, reload.cause),
            h(
              "span",
              { class: "note" },
              ` ${clock(reload.timestamp_seconds)}${reload.seconds === undefined ? "" : `, took ${span(reload.seconds)}`}`,
            ),
          ),
          [...reload.errors, ...reload.plugin_errors].map((error) => h("p", { class: "said" }, error)),
          reload.broken_tenants.map((one) =>
            h("p", { class: "said" }, one.tenant ? [tenantLink(one.tenant), ": "] : null, one.error),
          ),
          reload.warnings.map((warning) => h("p", { class: "said note" }, warning)),
          changes(reload),
        ),
      ),
    ),
    reloads.length > RELOADS &&
      h("button", { type: "button", class: "small", click: more }, isAll ? "Show fewer" : `Show all ${reloads.length}`),
  ];
}

function changes({ changed_tenants: tenants, changed_tenants_count: all }) {
  if (!tenants?.length) return null;
  const shown = tenants.slice(0, 8);
  const rest = (all ?? tenants.length) - shown.length;
  return h(
    "p",
    { class: "note" },
    "New policies or settings of ",
    shown.map((tenant, place) => [place ? ", " : "", tenantLink(tenant)]),
    rest > 0 ? ` and ${rest} others` : "",
    ".",
  );
}

/** Each plugin once, by its hash. */
function pluginsOf(rows) {
  const all = new Map();
  for (const row of rows) {
    const key = `${row.plugin} ${row.sha256}`;
    const plugin = all.get(key) ?? {
      plugin: row.plugin,
      sha256: row.sha256,
      world: row.world,
      size: row.size_bytes,
      policies: 0,
      calls: 0,
      failures: 0,
      cpu: 0,
    };
    plugin.policies += 1;
    plugin.calls += row.calls;
    plugin.failures += row.failures;
    plugin.cpu += row.cpu_seconds;
    all.set(key, plugin);
  }
  return [...all.values()].sort((a, b) => a.plugin.localeCompare(b.plugin));
}

function pluginTable(plugins) {
  if (!plugins.length) return empty("No tenant has a policy.");
  return plainTable(
    "Plugins",
    [
      "Plugin",
      "sha256",
      "World",
      { text: "Size", number: true },
      { text: "Policies", number: true },
      { text: "Calls", number: true },
      { text: "Failures", number: true },
      { text: "Processor time", number: true },
    ],
    plugins.map((plugin) => [
      plugin.plugin,
      h("code", { title: plugin.sha256 }, plugin.sha256.slice(0, 12)),
      plugin.world ?? NONE,
      bytes(plugin.size),
      count(plugin.policies),
      count(plugin.calls),
      count(plugin.failures),
      span(plugin.cpu),
    ]),
  );
}

function policyTable(params, signal) {
  const text = (key, title, of, more) => ({ key, title, value: of, show: (cell, row) => say(cell, of(row)), ...more });
  const number = (key, title, value, told, more) => ({
    key,
    title,
    number: true,
    value,
    show: (cell, row) => say(cell, told(value(row), row)),
    ...more,
  });
  const link = (make) => (cell, row) => cell.firstChild ?? cell.append(make(row));
  return new Table({
    name: "policies",
    label: "Policies",
    noun: "policy",
    key: (row) => `${row.tenant} ${row.policy}`,
    sort: params.sort || "tenant",
    query: params.q || "",
    hint: "Search tenants, policies, plugins",
    signal,
    told: ({ sort, q }) =>
      history.replaceState(null, "", hash("/policies", { sort: sort === "tenant" ? "" : sort, q })),
    columns: [
      {
        key: "tenant",
        title: "Tenant",
        class: "name",
        value: (row) => row.tenant,
        show: link((row) => tenantLink(row.tenant)),
      },
      {
        key: "policy",
        title: "Policy",
        class: "name",
        value: (row) => row.policy,
        show: link((row) => policyLink(row.tenant, row.policy)),
      },
      text("plugin", "Plugin", (row) => row.plugin, { class: "least" }),
      {
        key: "state",
        title: "State",
        value: (row) => policyState(row).textContent,
        show: (cell, row) => {
          const badge = policyState(row);
          if (cell.textContent !== badge.textContent) append(cell, [cell.replaceChildren(), badge]);
        },
      },
      number("calls", "Calls", (row) => row.calls, count, { class: "least" }),
      number("failures", "Failures", (row) => row.failures, count),
      number(
        "time",
        "Time a call",
        (row) => (row.calls ? (row.cpu_seconds / row.calls) * 1e9 : null),
        (_, row) => timeOfCall(row),
      ),
      number("cpu", "Processor time", (row) => row.cpu_seconds, span, { class: "least" }),
      number("memory", "Memory", (row) => row.memory_peak_bytes, bytes, { class: "least" }),
    ],
  });
}

function openOne(main, { tenant, policy, signal }) {
  const all = h("div", { class: "stack" });
  main.append(h("p", { class: "lead" }, "A policy of ", tenantLink(tenant), "."), all);
  every(3, signal, async (signal) => {
    const rows =
      (await askIfThere(tenantPath(tenant), signal))?.chain ?? (await ask(`api/v1/policies?tenant=${encodeURIComponent(tenant)}`, undefined, signal));
    const row = rows.find((one) => one.tenant === tenant && one.policy === policy) ?? null;
    refresh(all, row, () => (row ? detail(row) : empty(`Tenant \`${tenant}\` has no policy \`${policy}\` now.`)));
  });
}

function detail(row) {
  return [
    facts(
      ["State", policyState(row)],
      ["Mode", row.mode],
      ["Whose", row.owner ?? NONE],
      ["Plugin", row.plugin],
      ["World", row.world ?? NONE],
      ["Size", bytes(row.size_bytes)],
      ["Generation", count(row.generation)],
      [
        "Judges",
        [row.judges_series && "series", row.judges_writes && "writes"].filter(Boolean).join(" and ") ||
          "nothing under its settings",
      ],
      ["Calls", count(row.calls)],
      ["Failures", count(row.failures)],
      ["Time a call", timeOfCall(row)],
      ["Processor time", span(row.cpu_seconds)],
      ["Series a call, at most", count(row.series_per_call)],
      ["Memory of its largest instance", bytes(row.memory_peak_bytes)],
      ["Logged", `${of(row.log_lines, "line")}, ${bytes(row.log_bytes)}`],
    ),
    section("sha256 of the plugin", null, copyable(row.sha256, "sha256 of the plugin")),
    row.impure &&
      section(
        "Two answers about one series",
        { note: "A policy must decide by the series alone. It is not asked any more under this configuration." },
        h("p", null, series(row.impure.series)),
        h(
          "ul",
          null,
          row.impure.answers.map((answer) => h("li", { class: "said" }, answer)),
        ),
      ),
    row.quarantined_seconds !== null &&
      section("Quarantine", {
        note: `It keeps failing and is not called for another ${span(row.quarantined_seconds)}.`,
      }),
    row.last_failure && section("Last failure", null, h("p", { class: "said" }, row.last_failure)),
    row.refused_series.length > 0 &&
      section(
        "Series it fails on",
        { note: "Each of these is refused with `fails_policy`, and the others of its write go on." },
        plainTable(
          "Series it fails on",
          ["Series", "What the policy did", "When"],
          row.refused_series.map((one) => [series(one.series), one.fault, since(one.seconds_ago)]),
        ),
      ),
    row.shadow && shadow(row),
    section("Log", { note: "The last lines that the plugin wrote." }, logLines(row.log)),
  ];
}

function shadow({ shadow: { asked, differences, examples } }) {
  const some = Object.entries(differences).filter(([, number]) => number > 0);
  return section(
    "In shadow",
    {
      note: `Where its word does not count it was asked about ${of(asked, "series or write", "series and writes")}. This is what it would have had otherwise.`,
    },
    some.length
      ? plainTable(
          "Differences",
          ["It would", { text: "Times", number: true }],
          some.map(([kind, number]) => [kind, count(number)]),
        )
      : empty("Nothing would have been otherwise."),
    examples.length > 0 &&
      plainTable(
        "Examples",
        ["Series", "It said", "When"],
        examples.map((one) => [series(one.series), one.answer, since(one.seconds_ago)]),
      ),
  );
}

function logLines(lines) {
  if (!lines) return empty("This gateway keeps no lines; its own log has them.");
  if (!lines.length) return empty("It wrote nothing lately.");
  return h(
    "ol",
    { class: "log" },
    lines.map((line) =>
      h(
        "li",
        null,
        badge(line.level === "error" ? "bad" : line.level === "warn" ? "warn" : "hint", line.level),
        " ",
        h("span", { class: "told" }, line.text),
        " ",
        h("span", { class: "note" }, since(line.seconds_ago)),
      ),
    ),
  );
}
