// `#/upstreams`: the receivers, whether they are well, and why not.

import { ask, every } from "./data.js";
import { h } from "./dom.js";
import { count, percent, span } from "./format.js";
import { badge, empty, facts, plainTable, prose, refresh, section, since } from "./parts.js";
import { FAILURES } from "./words.js";

export const title = () => "Upstreams";

export function open(main, { signal }) {
  const all = h("div", { class: "stack" });
  main.append(
    h(
      "p",
      { class: "lead" },
      "Where writes go. An endpoint that fails three times in a row is passed over until it answers again; meanwhile the others of its upstream take its writes.",
    ),
    all,
  );
  every(3, signal, async (signal) => {
    const upstreams = await ask("api/v1/upstreams", undefined, signal);
    refresh(all, upstreams, (upstreams) =>
      upstreams.length ? upstreams.map(upstreamSection) : empty("No upstream is configured."),
    );
  });
}

function upstreamSection(upstream) {
  const well = upstream.endpoints.filter((endpoint) => endpoint.healthy && !endpoint.failures_in_a_row).length;
  const state =
    well === upstream.endpoints.length && !upstream.lookup_error
      ? badge("good", "well")
      : well
        ? badge("warn", `${well} of ${upstream.endpoints.length} well`)
        : badge("bad", "none is well");
  return section(
    upstream.upstream,
    { aside: state, class: "upstream" },
    upstream.lookup_error && h("p", { class: "said" }, upstream.lookup_error),
    facts(
      ["In flight", count(upstream.in_flight)],
      upstream.samples !== undefined && ["Samples stored since the start", count(upstream.samples)],
      upstream.p50_seconds !== undefined && ["Half of answers within", span(upstream.p50_seconds)],
      upstream.p99_seconds !== undefined && ["99 of 100 within", span(upstream.p99_seconds)],
    ),
    answers(upstream.answers),
    plainTable(
      `Endpoints of ${upstream.upstream}`,
      [
        "Endpoint",
        "State",
        { text: "In flight", number: true },
        { text: "Latency", number: true },
        { text: "Failures in a row", number: true },
        "Why",
      ],
      upstream.endpoints.map(endpointRow),
    ),
  );
}

function endpointRow(endpoint) {
  const state = !endpoint.healthy
    ? badge("bad", "passed over")
    : endpoint.failures_in_a_row > 0
      ? badge("warn", "failed last")
      : badge("good", "well");
  const again =
    endpoint.retry_in_seconds !== null &&
    h("div", { class: "note nowrap" }, `tried again in ${span(endpoint.retry_in_seconds)}`);
  const cause = endpoint.last_cause;
  const why = cause
    ? [
        h("p", { class: "told" }, cause.text),
        h(
          "p",
          { class: "note" },
          since(cause.seconds_ago),
          `, asked ${cause.url}`,
          cause.look_at ? [". Look at ", prose(`\`${cause.look_at}\``), "."] : ".",
        ),
      ]
    : endpoint.last_failure
      ? (FAILURES[endpoint.last_failure] ?? endpoint.last_failure)
      : "–";
  return [
    h("span", { class: "nowrap" }, endpoint.address),
    [state, again],
    count(endpoint.in_flight),
    span(endpoint.latency_seconds),
    count(endpoint.failures_in_a_row),
    why,
  ];
}

/** Of requests by outcome; those that never happened are left out. */
function answers(byOutcome) {
  const some = Object.entries(byOutcome ?? {})
    .filter(([, number]) => number > 0)
    .sort(([, a], [, b]) => b - a);
  if (!some.length) return null;
  const sum = some.reduce((all, [, number]) => all + number, 0);
  return h(
    "ul",
    { class: "answers", "aria-label": "Answers since the start" },
    some.map(([outcome, number]) =>
      h(
        "li",
        { "data-outcome": outcome },
        h("span", { class: "answer-name" }, OUTCOMES[outcome] ?? outcome),
        h("strong", null, count(number)),
        h("span", { class: "note" }, percent(number, sum)),
      ),
    ),
  );
}

const OUTCOMES = {
  ok: "stored",
  success: "stored",
  invalid: "called invalid",
  conflict: "samples refused",
  too_many_requests: "over the receiver's limit",
  misconfigured: "misconfigured",
  unavailable: "5xx",
  timeout: "no answer in time",
  connect: "no connection",
  reset: "connection reset",
  no_endpoint: "no endpoint",
  overloaded: "too many in flight",
  nonsense: "no HTTP",
  bug: "a bug",
};
