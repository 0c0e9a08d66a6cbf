// What needs somebody's attention.
//
// Takes what the API says of the gateway, gives sentences, the worst first: what happened, to whom, what to do and where. A
// fault that many tenants share is one sentence.

import { h } from "./dom.js";
import { of, rate as rateText, span } from "./format.js";
import { badge, hash, policyLink, prose, tenantLink } from "./parts.js";
import { explain, FAILURES } from "./words.js";

const LEVELS = ["bad", "warn", "hint"];
const WORDS = { bad: "broken", warn: "look", hint: "note" };
/** At first; a button shows the others. */
const SHOWN = 6;
/** Tenants that one sentence names. */
const NAMED = 4;
/** In seconds: what strangers met before that is not told any more. */
const RECENT = 300;
/** What only senders meet, even if it is not known which. */
const CREDENTIAL_REASONS = new Set([
  "wrong_credential",
  "ambiguous_credentials",
  "tls_unknown_ca",
  "tls_expired_certificate",
  "tls_bad_certificate",
  "tls_refused_by_sender",
]);
/** The part of a limit from which it counts as nearly used up. */
const FULL = 0.95;

const sentence = (level, title, text, more = {}) => ({ level, title, text, ...more });

/** Everything that these (each null if unknown) give reason for. */
/** What `problems` knows of a policy, and no more: there may be thousands. */
export const NEEDED = ["tenant", "policy", "impure", "quarantined_seconds", "last_failure", "refused_series"];

export function problems({ status, tenants, policies, upstreams, refusals }) {
  const found = [
    ...ofStatus(status),
    ...ofUpstreams(upstreams ?? []),
    ...ofPolicies(policies ?? []),
    ...ofTenants(tenants ?? []),
    ...ofFull(tenants ?? []),
    ...ofStrangers(refusals ?? []),
  ];
  return found.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
}

function* ofStatus(status) {
  if (!status) return;
  const { last_reload: reload, broken_tenants: broken, went_back: back } = status;
  for (const error of reload.errors)
    yield sentence("bad", ["The newest configuration is not in use."], error, {
      fix: "Mend the file and reload. Until then everything goes on as before.",
    });
  for (const error of reload.plugin_errors)
    yield sentence("bad", ["A plugin cannot be used."], error, {
      fix: "Mend the plugin's file and reload. Tenants that name it are served as before, if they were.",
    });
  for (const tenant of broken) {
    const serves = tenant.serving_generation !== null;
    const name = tenant.tenant ? tenantLink(tenant.tenant) : "A tenant file";
    const title = serves
      ? [
          name,
          ` is broken; its older configuration (generation ${tenant.serving_generation}) goes on serving${tenant.restored ? ", restored from state_dir" : ""}.`,
        ]
      : [name, " is broken, and nothing serves it: its senders wait (503)."];
    yield sentence(serves ? "warn" : "bad", title, tenant.error, {
      fix: tenant.credentials_unknown
        ? "Mend the file. Until then any credential that nobody has is answered 503 and not 401, because it may be this tenant's."
        : "Mend the file; it is read again by itself.",
    });
  }
  for (const one of back ?? []) {
    yield sentence("warn", [tenantLink(one.tenant), ` went back to older policies: ${one.why}.`], null, {
      fix: `It serves as generation ${one.generation} until its configuration changes. Mend the policy of generation ${one.from_generation}.`,
    });
  }
  for (const warning of reload.warnings) yield sentence("hint", ["The configuration has a warning."], warning);
}

function* ofUpstreams(upstreams) {
  for (const upstream of upstreams) {
    const name = h("a", { href: hash("/upstreams") }, upstream.upstream);
    if (upstream.lookup_error)
      yield sentence("bad", ["The name of upstream ", name, " cannot be looked up."], upstream.lookup_error, {
        fix: "Mend DNS, or the endpoint's name in the configuration.",
      });
    const ill = upstream.endpoints.filter((endpoint) => !endpoint.healthy);
    const failing = upstream.endpoints.filter((endpoint) => endpoint.healthy && endpoint.failures_in_a_row > 0);
    if (!ill.length && failing.length) {
      const { last_cause: cause, last_failure: failure } = failing[0];
      yield sentence(
        "warn",
        ["The last write to upstream ", name, " failed."],
        cause ? `${cause.url}: ${cause.text}` : FAILURES[failure],
        {
          fix: cause?.look_at
            ? `If it goes on, look at the receiver, then at \`${cause.look_at}\` in the configuration.`
            : "If it goes on, look at the receiver's log.",
        },
      );
    }
    if (!ill.length) continue;
    const all = ill.length === upstream.endpoints.length;
    const cause = ill.find((endpoint) => endpoint.last_cause);
    const why = cause ? `${cause.last_cause.url}: ${cause.last_cause.text}` : FAILURES[ill[0].last_failure];
    const title = all
      ? ["No endpoint of upstream ", name, " is healthy: writes for it are told to wait."]
      : ["Upstream ", name, ` has ${of(ill.length, "endpoint")} of ${upstream.endpoints.length} that is passed over.`];
    yield sentence(all ? "bad" : "warn", title, why, {
      fix: cause?.last_cause.look_at
        ? `Look at the receiver, then at \`${cause.last_cause.look_at}\` in the configuration.`
        : "Look at the receiver's log.",
    });
  }
}

function* ofPolicies(policies) {
  for (const policy of policies) {
    const name = [policyLink(policy.tenant, policy.policy), " of ", tenantLink(policy.tenant)];
    if (policy.impure)
      yield sentence(
        "bad",
        ["Policy ", name, " gave two answers about one series and is not asked any more."],
        `${policy.impure.series}: ${policy.impure.answers.join(" / ")}`,
        { fix: "A policy must decide by the series alone. Mend the plugin and reload." },
      );
    else if (policy.quarantined_seconds !== null)
      yield sentence(
        "bad",
        ["Policy ", name, ` keeps failing and is not called for another ${span(policy.quarantined_seconds)}.`],
        policy.last_failure,
        { fix: "Mend the plugin, or set its `on_failure`; its log lines are on its page." },
      );
    else if (policy.refused_series.length)
      yield sentence(
        "warn",
        [
          "Policy ",
          name,
          ` fails on ${of(policy.refused_series.length, "series", "series")}, which are refused for it.`,
        ],
        policy.refused_series[0].fault,
        { fix: "The series and the faults are on its page." },
      );
  }
}

/** Those that lose or keep samples now, together by reason. */
function* ofTenants(tenants) {
  for (const [level, rate, does] of [
    ["bad", "rejected", "lose"],
    ["warn", "waiting", "wait with"],
  ]) {
    const groups = Map.groupBy(
      tenants.filter((tenant) => tenant[rate] > 0),
      (tenant) => reasonFor(tenant, rate),
    );
    for (const [reason, group] of groups) {
      group.sort((a, b) => b[rate] - a[rate]);
      const sum = group.reduce((all, tenant) => all + tenant[rate], 0);
      const verb = group.length === 1 ? { lose: "loses", "wait with": "waits with" }[does] : does;
      const known = explain(reason);
      yield sentence(
        level,
        [
          names(group),
          ` ${verb} ${rateText(sum)} samples a second`,
          reason ? [": ", h("code", null, reason), "."] : ".",
        ],
        null,
        {
          word: does === "lose" ? "losing" : "waiting",
          about: known?.what,
          fix: known ? known.fix : "Each tenant's page has the reasons and the last refusals.",
          link: group.length > NAMED && h("a", { href: hash("/", { sort: `-${rate}` }) }, "Show them in the table"),
        },
      );
    }
  }
}

/** Those that soon have as many active series as they may have. */
function* ofFull(tenants) {
  const full = tenants.filter(
    (tenant) => tenant.active_series >= tenant.max_active_series * FULL && !(tenant.rejected > 0),
  );
  if (!full.length) return;
  full.sort((a, b) => b.active_series / b.max_active_series - a.active_series / a.max_active_series);
  yield sentence(
    "warn",
    [
      names(full),
      ` ${full.length === 1 ? "has" : "have"} nearly as many active series as there may be: new ones are refused soon.`,
    ],
    null,
    {
      word: "full",
      fix: explain("over_active_series").fix,
    },
  );
}

/** The first of them by name, and how many more there are. */
function names(group) {
  const named = group.slice(0, NAMED).map((tenant, place) => [place ? ", " : "", tenantLink(tenant.tenant)]);
  return [named, group.length > NAMED ? ` and ${group.length - NAMED} others` : ""];
}

/** Senders that showed a credential lately and proved nobody, together by reason. Who showed none may be anybody's scanner. */
function* ofStrangers(refusals) {
  const isSender = ({ tenant, identity, reason }) => tenant === null && (identity || CREDENTIAL_REASONS.has(reason));
  const lately = refusals.filter((one) => isSender(one) && one.seconds_ago < RECENT);
  for (const [reason, [newest, ...others]] of Map.groupBy(lately, (one) => one.reason)) {
    const known = explain(reason);
    const times = others.length ? `, and ${of(others.length, "time")} more` : "";
    const who = [newest.address, newest.identity].filter(Boolean).join(" as ");
    yield sentence(
      "warn",
      ["A sender could not prove who it is: ", h("code", null, reason), "."],
      `${who}: ${newest.text}${times}`,
      { word: "refused", about: known?.what, fix: known?.fix },
    );
  }
}

/** The last answer's, if it is one of this kind. */
function reasonFor(tenant, rate) {
  const isLoss = tenant.last_status >= 400 && tenant.last_status < 500 && tenant.last_status !== 429;
  const fits =
    rate === "rejected"
      ? isLoss || tenant.last_status === 429
      : tenant.last_status === 503 || tenant.last_status === 429;
  return fits ? tenant.last_reason : "";
}

/** The list of them; `isAll` and `more` unfold it. */
export function list(all, isAll, more) {
  if (!all.length)
    return h(
      "p",
      { class: "calm" },
      badge("good", "well"),
      " Nothing needs attention: every tenant, policy and endpoint is well, and nothing is lost.",
    );
  const shown = isAll ? all : all.slice(0, SHOWN);
  const items = shown.map(({ level, word, title, text, about, fix, link }) =>
    h(
      "li",
      { class: `problem ${level}` },
      badge(level, word ?? WORDS[level]),
      h(
        "div",
        null,
        h("p", { class: "problem-title" }, title),
        text && h("p", { class: "said" }, text),
        h("p", { class: "note" }, prose([about, fix].filter(Boolean).join(" ")), link ? [" ", link, "."] : null),
      ),
    ),
  );
  const button =
    all.length > SHOWN &&
    h("button", { type: "button", class: "small", click: more }, isAll ? "Show fewer" : `Show all ${all.length}`);
  return [h("ul", { class: "problems" }, items), button];
}
