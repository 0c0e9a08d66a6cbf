// Where a tenant's samples went, by policy and by reason, with examples.
//
// Takes what was counted and the examples that its file allows, gives tables and sentences. Never a value that the API hides.

import { h } from "./dom.js";
import { count, NONE, percent } from "./format.js";
import { badge, empty, plainTable, policyLink, prose, reasonNote, series, since } from "./parts.js";

/** `rule`: the text of the rule that a policy names as its reason, if it is known. */
export function samples(tenant, counted, drops, rule) {
  if (!counted) return empty("This gateway counts samples in /metrics alone.");
  const examples = (list, match) => list?.find(match)?.examples ?? [];
  const isLost = (row) => row.samples > waits(row);
  const dropped = counted.dropped.toSorted((a, b) => b.samples - a.samples);
  const rejected = counted.rejected.toSorted((a, b) => b.samples - a.samples);
  const waiting = rejected.reduce((sum, row) => sum + waits(row), 0);
  const total = (numbers) => numbers.reduce((sum, { samples }) => sum + samples, 0);
  return [
    h(
      "ul",
      { class: "totals" },
      [
        ["received", counted.received],
        ["kept", counted.kept],
        ["edited", counted.edited],
        ["dropped", total(dropped)],
        ["rejected", total(rejected) - waiting],
        ["waiting", waiting],
      ].map(([name, number]) =>
        h(
          "li",
          { "data-counted": name },
          h("span", { class: `swatch ${name}`, "aria-hidden": "true" }),
          name,
          h("strong", null, count(number)),
        ),
      ),
    ),
    dropped.length > 0 && [
      h("h3", null, "Dropped by policies, on purpose"),
      plainTable(
        "Dropped samples",
        ["Policy", "Reason", { text: "Samples", number: true }, { text: "Of received", number: true }, "Examples"],
        dropped.map((row) => [
          policyLink(tenant, row.policy),
          [h("code", null, row.reason), rule(row) && h("p", { class: "rule" }, rule(row))],
          count(row.samples),
          percent(row.samples, counted.received),
          exampleList(
            examples(drops?.drops, (one) => one.policy === row.policy && one.reason === row.reason),
            drops,
          ),
        ]),
      ),
    ],
    [
      ["Rejected", rejected.filter(isLost)],
      ["Waiting: kept by the sender and sent again", rejected.filter((row) => !isLost(row))],
    ].map(
      ([heading, rows]) =>
        rows.length > 0 && [
          h("h3", null, heading),
          h(
            "ul",
            { class: "rejections" },
            rows.map((row) =>
              rejection(
                row,
                examples(drops?.rejections, (one) => one.reason === row.reason),
              ),
            ),
          ),
        ],
    ),
    (counted.discarded ?? []).length > 0 && [
      h("h3", null, "Not samples, and not forwarded"),
      plainTable(
        "Discarded",
        ["Kind", "Reason", { text: "Number", number: true }],
        counted.discarded.map((row) => [row.kind, h("code", null, row.reason), count(row.count)]),
      ),
    ],
    examplesNote(drops),
  ];
}

/** Of what was rejected for a reason: the samples that their sender keeps. */
const waits = (row) => (row.kept_by_sender ? row.samples : (row.waiting ?? 0));

function rejection(row, examples) {
  const waiting = waits(row);
  const lost = row.samples - waiting;
  const isHarmless = row.reason === "already_stored";
  const fates = [
    lost > 0 && `${count(lost)} ${isHarmless ? "were stored before" : "dropped by the sender: lost"}`,
    waiting > 0 && `${count(waiting)} kept by the sender and sent again`,
  ].filter(Boolean);
  return h(
    "li",
    { "data-reason": row.reason },
    h(
      "p",
      null,
      isHarmless ? badge("good", "stored") : badge(lost ? "bad" : "warn", lost ? "lost" : "waiting"),
      " ",
      h("code", null, row.reason),
      " ",
      h("strong", null, count(row.samples)),
      ` ${row.samples === 1 ? "sample" : "samples"}: ${fates.join(", ")}.`,
    ),
    reasonNote(row.reason),
    examples.length > 0 && exampleList(examples),
  );
}

function exampleList(examples, drops) {
  if (!examples.length) return drops?.examples_kept === "off" ? h("span", { class: "note" }, "off") : NONE;
  return h(
    "ul",
    { class: "examples" },
    examples
      .slice(0, 16)
      .map((example) =>
        h("li", null, series(example.series), " ", h("span", { class: "note" }, since(example.seconds_ago))),
      ),
  );
}

const examplesNote = (drops) => {
  if (!drops) return null;
  const said = {
    off: "No examples are kept of this tenant. `drop_examples: names` in its file keeps label names, `drop_examples: values` their values too.",
    names: "Values are hidden as `_`. `drop_examples: values` in the tenant's file shows them.",
    values: "Values are shown because the tenant's file says `drop_examples: values`.",
  }[drops.examples_kept];
  return said && h("p", { class: "note" }, prose(said));
};
