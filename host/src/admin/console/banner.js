// What stands on top of a tenant's page: what is wrong with it, or that nothing is.
//
// Takes what the API says of the tenant and of the reloads, gives sentences. What a limit allows stands beside what is used of
// it. Never says that all is well of a tenant that stores nothing.

import * as attention from "./attention.js";
import { h } from "./dom.js";
import { bytes, clock, count, exact, hourOf, rate } from "./format.js";
import { fromApi } from "./overview.js";
import { badge, empty, prose, reloadsLink, since } from "./parts.js";
import { standing } from "./standing.js";

/** The limit that a reason is about, where nothing is in use of it between two writes. */
const LIMITS = {
  body_too_large: "max_body_size",
  decoded_too_large: "max_decoded_size",
  too_many_series: "max_series_per_request",
  too_many_labels: "max_labels_per_series",
  label_name_too_long: "max_label_name_length",
  label_value_too_long: "max_label_value_length",
};
const IN_FLIGHT = { tenant_requests: "max_concurrent_requests", tenant_bytes: "max_in_flight_size" };
export const KINDS = {
  client_certificate: "client certificate",
  bearer_token: "bearer token",
  basic_auth: "username and password",
};

export function banner(tenant, detail, status, reloads) {
  const broken = (status?.broken_tenants ?? []).filter((one) => one.tenant === tenant);
  const own = {
    reloads,
    status: status && {
      broken_tenants: broken,
      went_back: detail?.went_back ? [detail.went_back] : [],
      last_reload: { errors: [], plugin_errors: [], warnings: [] },
    },
    tenants: detail && [{ ...fromApi(detail), tenant }],
    policies: detail?.chain,
  };
  const problems = attention.problems(own);
  if (problems.length)
    return attention.list(
      problems.map((one) => ({ ...one, beside: detail && beside(one.reason, detail) })),
      true,
    );
  return detail
    ? calm(standing(fromApi(detail)))
    : empty(
        `Nothing serves a tenant \`${tenant}\`. Its file may be missing, or its name is another: look at the overview.`,
      );
}

/** Of a tenant that nothing is wrong with. */
function calm({ is, taken, came, refused }) {
  const said = {
    well: () => [
      badge("good", "well"),
      " Samples were last stored, or dropped on purpose, ",
      since(taken),
      refused < Infinity ? [". The last refusal was ", since(refused)] : ". Nothing was refused in the last hour",
      ". Nothing is lost, and nothing waits.",
    ],
    idle: () => [
      badge("hint", "silent"),
      came < Infinity ? " No write came within the last hour" : " No write came since the gateway started",
      ", and nothing was refused. Look at the sender: whether it runs, and whether it reaches this gateway.",
    ],
    unknown: () => [badge("hint", "note"), " Nothing is lost and nothing waits."],
  };
  return h("p", { class: "calm" }, said[is]());
}

/** What is allowed and what there is, or null of a reason that is no limit's. */
function beside(reason, detail) {
  const { use = [], limits = {}, fullest_budgets: budgets = [], removed_credentials: removed = [] } = detail;
  if (reason === "credential_removed" && removed.length) return removed.map(gone);
  if (reason === "over_rate") {
    const [bucket] = use.filter((one) => one.per_second).sort((a, b) => b.use / b.max - a.use / a.max);
    return (
      bucket &&
      prose(
        `\`${bucket.limit}\` allows ${exact(bucket.per_second)} a second and ${exact(bucket.max)} at once, of which ${exact(bucket.use)} are used; ${rate(detail.received_per_second)} samples a second come.`,
      )
    );
  }
  if (reason === "over_active_series")
    return `${count(detail.active_series)} of ${count(detail.max_active_series)} active series.`;
  if (reason === "over_budget" && budgets.length)
    return prose(
      `\`${budgets[0].budget}\` has ${count(budgets[0].active_series)} of ${count(budgets[0].max_active_series)} active series.`,
    );
  const limit = LIMITS[reason] ?? IN_FLIGHT[reason];
  const max = limits[limit];
  if (max === undefined) return null;
  return prose(`\`${limit}\` is ${limit.endsWith("size") ? bytes(max) : count(max)}.`);
}

/** A credential that a reload took out, and how long its writes wait. */
function gone(row) {
  const now = Date.now() / 1000;
  const name = row.uri_san ?? row.dns_san ?? row.common_name ?? row.username;
  const removed = now - row.removed_seconds_ago;
  return h(
    "span",
    { class: "gone" },
    `The ${KINDS[row.kind] ?? row.kind} `,
    name && [h("code", null, name), " "],
    h("span", { title: clock(removed) }, `was taken out by the reload at ${hourOf(removed)}`),
    `. Its writes wait in the sender until ${hourOf(now + row.ends_in_seconds)}, and are refused and lost from then on. `,
    reloadsLink(),
    ".",
  );
}

/** The rule that a policy of relabel rules names as its reason, as one line; null if it is not known. */
export function ruleOf(config, { policy, reason }) {
  const place = /^relabel_configs\[(\d+)\]$/.exec(reason)?.[1];
  const settings = config?.policies?.find(({ name }) => name === policy)?.settings;
  const rule = place === undefined ? null : settings?.relabel_configs?.[place];
  if (!rule) return null;
  const { action = "replace", source_labels: labels = [], separator = ";", regex = "(.*)" } = rule;
  return `${action}${labels.length ? ` where ${labels.join(separator)}` : ""} =~ "${regex}"`;
}
