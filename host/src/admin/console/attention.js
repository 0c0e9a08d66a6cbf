// What needs somebody's attention.
//
// Takes what the API says of the gateway, gives sentences, the worst first: what happened, to whom, what to do and where. A
// fault that many tenants share is one sentence.

import { h } from "./dom.js";
import { dated, hourOf, of, rate as rateText, span, timesOrMore } from "./format.js";
import { badge, hash, policyLink, prose, reloadsLink, tenantLink } from "./parts.js";
import { RECENT, standing } from "./standing.js";
import { explain, FAILURES } from "./words.js";

const LEVELS = ["bad", "warn", "hint"];
const WORDS = { bad: "broken", warn: "look", hint: "note" };
/** At first; a button shows the others. */
const SHOWN = 6;
/** Tenants that one sentence names. */
const NAMED = 4;
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

/** What `problems` knows of a policy, and no more: there may be thousands. */
export const NEEDED = ["tenant", "policy", "impure", "quarantined_seconds", "last_failure", "refused_series"];

/** Everything that these (each null if unknown) give reason for. */
export function problems({ status, tenants, policies, upstreams, refusals, reloads }) {
  const found = [
    ...ofStatus(status, reloads ?? []),
    ...ofUpstreams(upstreams ?? []),
    ...ofPolicies(policies ?? []),
    ...ofTenants(tenants ?? []),
    ...ofStanding(tenants ?? []),
    ...ofFull(tenants ?? []),
    ...ofStrangers(refusals ?? [], tenants ?? []),
  ];
  return found.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
}

function* ofStatus(status, reloads) {
  if (!status) return;
  const { last_reload: reload, broken_tenants: broken, went_back: back } = status;
  for (const error of reload.errors)
    yield sentence("bad", ["The newest configuration is not in use."], error, {
      fix: "Mend the file and reload. Until then everything goes on as before.",
      link: reloadsLink(),
    });
  for (const error of reload.plugin_errors)
    yield sentence("bad", ["A plugin cannot be used."], error, {
      fix: "Mend the plugin's file and reload. Tenants that name it are served as before, if they were.",
    });
  for (const tenant of broken) {
    const serves = tenant.serving_generation !== null;
    const name = tenant.tenant ? ["The new file of ", tenantLink(tenant.tenant)] : "A new tenant file";
    const began = brokenSince(reloads, tenant.file);
    const since = began === null ? "" : ` since ${hourOf(began)}`;
    const title = serves
      ? [
          name,
          ` is refused${since}; its older configuration (generation ${tenant.serving_generation}) goes on serving${tenant.restored ? ", restored from state_dir" : ""}.`,
        ]
      : [name, ` is refused${since}, and nothing serves it: its senders wait (503).`];
    yield sentence(serves ? "warn" : "bad", title, tenant.error, {
      fix: tenant.credentials_unknown
        ? "Mend the file. Until then any credential that nobody has is answered 503 and not 401, because it may be this tenant's."
        : "Mend the file; it is read again by itself.",
      link: reloadsLink(),
    });
  }
  for (const one of back ?? []) {
    yield sentence("warn", [tenantLink(one.tenant), ` went back to older policies: ${one.why}.`], null, {
      fix: `It serves as generation ${one.generation} until its configuration changes. Mend the policy of generation ${one.from_generation}.`,
    });
  }
  for (const warning of reload.warnings) yield sentence("hint", ["The configuration has a warning."], warning);
}

/** When the reload began that refused a file which all reloads since have refused too; null if it is not known. */
function brokenSince(reloads, file) {
  let began = null;
  for (const reload of reloads) {
    if (!reload.broken_tenants.some((one) => one.file === file)) break;
    began = reload.timestamp_seconds;
  }
  return began;
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
  for (const [level, rate, word] of [
    ["bad", "rejected", "losing"],
    ["warn", "waiting", "waiting"],
  ]) {
    const groups = Map.groupBy(
      tenants.filter((tenant) => tenant[rate] > 0),
      (tenant) => reasonFor(tenant, rate),
    );
    for (const [reason, group] of groups) {
      group.sort((a, b) => b[rate] - a[rate]);
      const samples = `${rateText(group.reduce((all, tenant) => all + tenant[rate], 0))} samples a second`;
      const known = explain(reason);
      const says =
        word === "losing"
          ? [names(group), ` ${group.length === 1 ? "loses" : "lose"} ${samples}`]
          : [`${samples} of `, names(group), " wait"];
      const isNothing = group.length === 1 && standing(group[0]).is === "refused";
      yield sentence(
        level,
        [says, reason ? [": ", h("code", null, reason), "."] : ".", isNothing && ` Nothing is stored${since(group)}.`],
        null,
        {
          word,
          reason,
          about: known?.what,
          fix: known ? known.fix : "Each tenant's page has the reasons and the last refusals.",
          link: group.length > NAMED && h("a", { href: hash("/", { sort: `-${rate}` }) }, "Show them in the table"),
        },
      );
    }
  }
}

/** Those whose writes are refused before a sample is counted, and those that write no more. */
function* ofStanding(tenants) {
  const quiet = tenants.filter((tenant) => !(tenant.rejected > 0 || tenant.waiting > 0));
  const groups = Map.groupBy(quiet, (tenant) => {
    const { is, isClaimed } = standing(tenant);
    return ["refused", "partly"].includes(is) ? `${is} ${tenant.last_reason} ${isClaimed}` : is;
  });
  for (const group of groups.values()) {
    const { is, isClaimed } = standing(group[0]);
    if (is === "silent") yield silent(group);
    if (is !== "refused" && is !== "partly") continue;
    const { last_reason: reason, last_status: status } = group[0];
    const [code, known] = [h("code", null, reason), explain(reason)];
    const who = `${group.length === 1 ? "its name" : "their names"} is refused: `;
    const isWaiting = status >= 500;
    const title = {
      "refused false": ["Every write of ", names(group), since(group), " is refused: ", code, "."],
      "refused true": ["Nothing of ", names(group), " is stored", since(group), ": who comes with ", who, code, "."],
      "partly false": ["Some writes of ", names(group), isWaiting ? " are told to wait: " : " are refused: ", code, "."],
      "partly true": ["Somebody who comes with the name of ", names(group), " is refused: ", code, "."],
    }[`${is} ${isClaimed}`];
    const isLost = is === "refused" && status >= 400 && status < 500 && status !== 429;
    yield sentence(isLost ? "bad" : "warn", title, group.length === 1 ? group[0].last_text : null, {
      word: is === "partly" && isWaiting ? "waiting" : "refused",
      reason,
      about: known?.what,
      fix: known?.fix,
      link: group.length > NAMED && h("a", { href: hash("/", { q: reason }) }, "Show them in the table"),
    });
  }
}

function silent(group) {
  group.sort((a, b) => standing(a).came - standing(b).came);
  const longest = span(60 * Math.floor(standing(group.at(-1)).came / 60));
  const text =
    group.length === 1
      ? ` is silent: its last write came ${longest} ago, and nothing was refused since.`
      : ` are silent: their last writes came up to ${longest} ago, and nothing was refused since.`;
  return sentence("warn", [names(group), text], null, {
    word: "silent",
    fix: "Look at the sender: whether it runs, and whether it reaches this gateway.",
    link: group.length > NAMED && h("a", { href: hash("/", { q: "silent" }) }, "Show them in the table"),
  });
}

/** Since when nothing of one tenant was taken. */
function since(group) {
  if (group.length > 1) return "";
  const { taken } = standing(group[0]);
  return taken < Infinity ? ` since ${hourOf(Date.now() / 1000 - taken)}` : " since the gateway started";
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

/**
 * Senders that showed a credential lately and proved nobody, together by reason. Who showed none may be anybody's scanner, and
 * who came with the name of a tenant is told of with that one.
 */
function* ofStrangers(refusals, tenants) {
  const last = new Map(tenants.map((tenant) => [tenant.tenant, tenant.last_reason]));
  const isSender = ({ tenant, identity, reason }) => tenant === null && (identity || CREDENTIAL_REASONS.has(reason));
  const isTold = ({ claimed_tenant: claimed, reason }) => claimed && last.get(claimed) === reason;
  const lately = refusals.filter((one) => isSender(one) && !isTold(one) && one.seconds_ago < RECENT);
  for (const [reason, [newest, ...others]] of Map.groupBy(lately, (one) => one.reason)) {
    const known = explain(reason);
    const times = others.length ? `, and ${timesOrMore(others.length)} before` : "";
    const who = [newest.address, dated(newest.identity)].filter(Boolean).join(" as ");
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
      " Nothing needs attention: nothing is lost or waits, no write is refused, and no sender fell silent.",
    );
  const shown = isAll ? all : all.slice(0, SHOWN);
  const items = shown.map(({ level, word, title, text, beside, about, fix, link }) =>
    h(
      "li",
      { class: `problem ${level}` },
      badge(level, word ?? WORDS[level]),
      h(
        "div",
        null,
        h("p", { class: "problem-title" }, title),
        text && h("p", { class: "said" }, text),
        beside && h("p", { class: "beside" }, beside),
        h("p", { class: "note" }, prose([about, fix].filter(Boolean).join(" ")), link ? [" ", link, "."] : null),
      ),
    ),
  );
  const button =
    all.length > SHOWN &&
    h("button", { type: "button", class: "small", click: more }, isAll ? "Show fewer" : `Show all ${all.length}`);
  return [h("ul", { class: "problems" }, items), button];
}
