// `#/playground`: what would become of a series, step by step.
//
// Takes series as Prometheus writes them and a tenant, or policies in place of the tenant's own; asks the gateway, which sends,
// charges and remembers nothing for it. The address holds the question, so that it can be handed on.

import { ask, askIfThere } from "./data.js";
import { announce, h, say } from "./dom.js";
import { count, of, percent } from "./format.js";
import { badge, copy, hash, policyLink, prose, series, tenantLink } from "./parts.js";
import { explain, SAID } from "./words.js";

export const title = () => "Playground";

const MAX_SERIES = 100;

const EXAMPLES = {
  "a node's series":
    'up{instance="node-0:9100",job="node"} 1\nnode_cpu_seconds_total{cpu="0",instance="node-0:9100",job="node",mode="idle"} 81234.5',
  "Go's own metrics":
    'go_goroutines{instance="api-0:8080",job="api"} 42\ngo_gc_duration_seconds{instance="api-0:8080",job="api",quantile="0.5"} 0.0004',
  "a name in UTF-8": '{"größe.in.bytes", job="node"} 7',
  "two replicas of one":
    'http_requests_total{code="200",job="api",replica="a"} 12\nhttp_requests_total{code="200",job="api",replica="b"} 12',
  "a value that is too long": `http_requests_total{job="api",path="/${"x".repeat(2100)}"} 1`,
};

const POLICIES = [
  {
    policy: "relabel",
    plugin: "relabel",
    settings: {
      relabel_configs: [
        { action: "drop", source_labels: ["__name__"], regex: "go_.*" },
        { action: "labeldrop", regex: "replica" },
      ],
    },
  },
];

export function open(main, { params, signal }) {
  const tenants = h("datalist", { id: "tenants" });
  const tenant = h("input", {
    id: "tenant",
    list: "tenants",
    value: params.tenant ?? "",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  const text = h(
    "textarea",
    { id: "series", rows: 6, spellcheck: "false", "aria-describedby": "series-note" },
    params.series ?? "",
  );
  const policies = h(
    "textarea",
    { id: "policies", rows: 10, spellcheck: "false", "aria-describedby": "policies-note" },
    params.policies ?? "",
  );
  const other = h(
    "details",
    { class: "other", open: Boolean(params.policies) },
    h("summary", null, "Try other policies in place of its own"),
    h("label", { for: "policies" }, "Policies, as JSON"),
    h(
      "p",
      { class: "note", id: "policies-note" },
      prose(
        'A list of `{"policy", "plugin", "settings"}` in the order they run. Nothing of it is taken into use. If this is empty, the tenant\'s own policies are asked.',
      ),
    ),
    policies,
    h(
      "p",
      { class: "tools" },
      h("button", { type: "button", class: "small", click: () => own() }, "Start from the tenant's own"),
      h(
        "button",
        { type: "button", class: "small", click: () => (policies.value = JSON.stringify(POLICIES, null, 2)) },
        "Start from an example",
      ),
      h("button", { type: "button", class: "small", click: () => (policies.value = "") }, "Clear"),
    ),
  );
  const problem = h("p", { class: "error", role: "alert" });
  const answers = h("div", { class: "answers-of", tabindex: "-1" });
  const link = h(
    "button",
    { type: "button", class: "small", click: () => copy(location.href, link) },
    "Copy a link to this",
  );
  const button = h("button", { type: "submit" }, "Follow them");
  const form = h(
    "form",
    {
      class: "play",
      submit: (event) => {
        event.preventDefault();
        run(true);
      },
    },
    h("div", { class: "field" }, h("label", { for: "tenant" }, "Tenant"), tenant, tenants),
    h(
      "div",
      { class: "field" },
      h("label", { for: "series" }, "Series, one on each line"),
      h(
        "p",
        { class: "note", id: "series-note" },
        prose(
          "In Prometheus' text format, as `/metrics` pages have it; values and timestamps may be there. Or pick an example:",
        ),
      ),
      h(
        "div",
        { class: "tools" },
        Object.entries(EXAMPLES).map(([name, value]) =>
          h(
            "button",
            {
              type: "button",
              class: "small",
              click: () => {
                text.value = value;
                text.focus();
              },
            },
            name,
          ),
        ),
      ),
      text,
    ),
    other,
    h("div", { class: "tools" }, button, link),
  );
  main.append(
    h(
      "p",
      { class: "lead" },
      "See what each policy and the gateway itself would make of a series, and what its sender would be told. Nothing is sent, charged or remembered.",
    ),
    h("div", { class: "play-columns" }, form, h("div", null, problem, answers)),
  );
  const ctrlEnter = (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && form.requestSubmit();
  for (const area of [text, policies]) area.addEventListener("keydown", ctrlEnter);

  const own = async () => {
    try {
      const answer = await askIfThere(`api/v1/config?tenant=${encodeURIComponent(tenant.value.trim())}`, signal);
      const list = answer?.config?.policies?.map(({ policy, plugin, settings }) => ({ policy, plugin, settings }));
      if (list) policies.value = JSON.stringify(list, null, 2);
      else say(problem, "The gateway does not tell the policies of this tenant.");
    } catch (error) {
      if (error.name !== "AbortError") say(problem, error.message);
    }
  };

  const run = async (isAsked) => {
    say(problem, "");
    answers.replaceChildren();
    const question = questionOf(tenant.value, text.value, policies.value);
    if (question.error) return say(problem, question.error);
    history.replaceState(
      null,
      "",
      hash("/playground", { tenant: tenant.value.trim(), series: text.value, policies: policies.value }),
    );
    button.disabled = true;
    try {
      const explained = await ask("api/v1/explain", question, signal);
      answers.append(...explained.explanations.map((one, place) => answer(one, explained, question, place)));
      announce(
        `${of(explained.explanations.length, "series was followed", "series were followed")}. ${explained.explanations.map((one) => verdict(one).text).join(" ")}`,
      );
      if (isAsked) answers.focus({ preventScroll: true });
    } catch (error) {
      if (error.name !== "AbortError") say(problem, error.message);
    } finally {
      button.disabled = false;
    }
  };

  fillTenants(tenants, tenant, signal).then(() => {
    if (params.series && tenant.value) run(false);
  });
}

async function fillTenants(list, input, signal) {
  try {
    const rows = await ask("api/v1/tenants", undefined, signal);
    list.replaceChildren(...rows.map((row) => h("option", { value: row.tenant })));
    if (!input.value && rows.length) input.value = rows[0].tenant;
  } catch {
    // It can be typed as well.
  }
}

/** What the API is asked, or `{error}`. */
function questionOf(tenant, text, policies) {
  const lines = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line && !line.startsWith("#"));
  if (!tenant.trim()) return { error: "Name a tenant." };
  if (!lines.length) return { error: "Paste a series, or pick an example." };
  if (lines.length > MAX_SERIES)
    return { error: `One question has at most ${MAX_SERIES} series; these are ${count(lines.length)}.` };
  const question = { tenant: tenant.trim(), series: lines };
  if (!policies.trim()) return question;
  try {
    question.policies = JSON.parse(policies);
  } catch (error) {
    return { error: `The policies are no JSON: ${error.message}` };
  }
  return Array.isArray(question.policies)
    ? question
    : { error: "The policies are a list: put them in square brackets." };
}

/** What becomes of it, in a word and a sentence. */
function verdict({ answer, forwarded, steps }) {
  if (answer.status >= 500 || answer.status === 429)
    return {
      level: "warn",
      word: "waits",
      text: `It is told to wait (${answer.status}): the sender keeps it and sends it again.`,
    };
  if (answer.status >= 400)
    return { level: "bad", word: "refused", text: `It is refused (${answer.status}): the sender drops it.` };
  if (forwarded)
    return {
      level: "good",
      word: "stored",
      text: `It goes to upstream ${forwarded.upstream}${forwarded.stream ? `, in stream ${forwarded.stream}` : ""}.`,
    };
  const by = steps.find((step) => step.said === "drop" && step.applied !== false);
  return {
    level: "hint",
    word: "dropped",
    text: by
      ? `Policy ${by.policy} drops it on purpose${by.detail ? `: ${by.detail}` : ""}.`
      : "It is dropped on purpose.",
  };
}

function answer(one, { tenant }, question, place) {
  const { level, word, text } = verdict(one);
  const head = `answer-${place}`;
  const known = explain(one.answer.reason);
  const ownPolicies = question.policies === undefined;
  return h(
    "article",
    {
      class: "answer",
      "aria-labelledby": head,
      "data-status": one.answer.status,
      "data-forwarded": one.forwarded?.series ?? "",
    },
    h("h2", { id: head }, series(one.series)),
    h("p", { class: "verdict" }, badge(level, word), " ", text),
    one.answer.text && h("p", { class: "said" }, one.answer.text),
    known && h("p", { class: "note" }, prose(known.what), " ", h("strong", null, "What to do: "), prose(known.fix)),
    h(
      "ol",
      { class: "steps" },
      one.steps.map((step) => stepOf(step, tenant, ownPolicies)),
      last(one),
    ),
    h(
      "p",
      { class: "note" },
      one.is_new ? "It would count as one more active series: " : "Active series now: ",
      `${count(one.active_series)} of ${count(one.max_active_series)} (${percent(one.active_series, one.max_active_series)}) in `,
      tenantLink(tenant),
      ".",
    ),
  );
}

const LEVELS = {
  drop: "drop",
  refuse: "bad",
  reject: "bad",
  failed: "bad",
  left_out: "warn",
  edit: "edit",
  keep: "good",
  admit: "good",
  not_asked: "off",
};

function stepOf(step, tenant, ownPolicies) {
  const name = step.policy
    ? ownPolicies
      ? policyLink(tenant, step.policy)
      : h("strong", null, step.policy)
    : h("strong", null, "the gateway's own checks");
  const about = [
    step.plugin && step.plugin !== step.policy && `plugin ${step.plugin}`,
    step.owner && `the ${step.owner}'s`,
    step.about === "write" && "about the whole write",
    step.mode,
  ]
    .filter(Boolean)
    .join(", ");
  return h(
    "li",
    { class: `step ${LEVELS[step.said] ?? ""}${step.applied === false ? " shadowed" : ""}`, "data-said": step.said },
    h(
      "p",
      { class: "step-head" },
      name,
      " ",
      h("span", { class: "what" }, prose(SAID[step.said] ?? step.said)),
      step.detail && [": ", h("code", null, step.detail)],
      about && h("span", { class: "note" }, ` (${about})`),
    ),
    step.applied === false && h("p", { class: "note" }, "Its word does not count here: this is what it would do."),
    (step.labels ?? []).length > 0 && labelChanges(step.labels),
    step.stream !== undefined &&
      step.stream !== null &&
      h(
        "p",
        { class: "note" },
        "Puts it into ",
        step.stream ? ["stream ", h("code", null, step.stream)] : "the default stream",
        ".",
      ),
    step.budget &&
      h(
        "p",
        { class: "note" },
        "Counts it against budget ",
        h("code", null, step.budget.name),
        `, which may have ${count(step.budget.max_active_series)} active series.`,
      ),
    (step.charges ?? []).map((charge) =>
      h(
        "p",
        { class: "note" },
        `Takes ${of(charge.tokens, "token")} of bucket `,
        h("code", null, charge.bucket),
        `, which gets ${count(charge.per_second)} a second and holds ${count(charge.burst)}.`,
      ),
    ),
    (step.routes ?? []).map((route) =>
      h(
        "p",
        { class: "note" },
        "Sends ",
        route.stream ? ["stream ", h("code", null, route.stream)] : "the default stream",
        " to upstream ",
        h("code", null, route.upstream),
        ".",
      ),
    ),
    step.after !== undefined &&
      step.after !== null &&
      (step.labels ?? []).length > 0 &&
      h("details", null, h("summary", null, "The series after this step"), h("p", null, series(step.after))),
  );
}

/** Label by label: what was, what is. */
function labelChanges(labels) {
  const row = ({ label, from, to }) => {
    const kind = from === null ? "added" : to === null ? "removed" : "changed";
    return h(
      "tr",
      { class: kind },
      h("th", { scope: "row" }, label),
      h("td", null, kind),
      h("td", null, from === null ? null : h("del", null, from)),
      h("td", null, to === null ? null : h("ins", null, to)),
    );
  };
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Changed labels" },
    h(
      "table",
      { class: "labels" },
      h(
        "thead",
        null,
        h(
          "tr",
          null,
          ["Label", "", "Was", "Is"].map((head) => h("th", { scope: "col" }, head)),
        ),
      ),
      h("tbody", null, labels.map(row)),
    ),
  );
}

function last({ forwarded, answer }) {
  const stored = forwarded && [
    h("p", { class: "step-head" }, "Upstream ", h("strong", null, forwarded.upstream), " gets"),
    h("p", { class: "forwarded" }, series(forwarded.series)),
  ];
  const after = answer.retry_after_seconds === null ? "" : `, to come again after ${answer.retry_after_seconds} s`;
  return h(
    "li",
    { class: "step end" },
    stored || h("p", { class: "step-head" }, "Nothing goes on."),
    h(
      "p",
      { class: "note" },
      `The sender is answered ${answer.status}${answer.reason ? ` (${answer.reason})` : ""}${after}, provided that the upstream takes what goes on.`,
    ),
  );
}
