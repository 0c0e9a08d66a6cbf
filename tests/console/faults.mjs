// What goes wrong in the trial of the console: for each fault what its tenant has and sends, what its people complain of, the
// cause that is to be found, and how it is known to be there.
//
// Takes nothing, gives a list. A complaint never says the cause, and no name does.

const series = (name, count, labels) =>
  Array.from({ length: count }, (_, place) => ({ __name__: name, ...labels(place) }));

const rejected = (reason) => (seen) => seen.metric("gauntlet_rejected_samples_total", { tenant: seen.tenant, reason });
/** Of what never came to samples metrics know only why: the refusal itself has the sender's address. */
const refused = (reason) => (seen) =>
  seen.refusals.some((one) => one.reason === reason && one.address.startsWith(`${seen.address}:`));

/** Its label is another one in each round: a metric that explodes. */
const exploding = (name, label) => (round) =>
  series(name, 10, (place) => ({ job: "api", [label]: `${round}-${place}` }));

const relabel = (...relabel_configs) => ({ plugin: "relabel", settings: { relabel_configs } });

/**
 * `file`: what its tenant file has besides. `adds`: series that go with the usual ones, by round. `sends`: in place of them.
 * `own`: a write of its own. `late`: how the file changes once it has written. `login`: what it proves itself by. `answer`: its
 * receiver's, by the number of samples. `upstream`: the kind of upstream that it writes to.
 */
export const FAULTS = [
  {
    cause: "its policy `scrub-ids` traps on every series that has a label `shard`, and these are refused (400 fails_policy)",
    complaint: "`cache_hits_total` of our sharded cache never arrives. Everything else does.",
    file: { policies: [{ plugin: "scrub-ids", settings: { mode: "trap", when: "shard" } }] },
    adds: () => series("cache_hits_total", 4, (place) => ({ job: "cache", shard: String(place) })),
    active: rejected("fails_policy"),
  },
  {
    cause: "its new tenant file has a mistake in a regex: it is broken since the last reload, and the rule before still holds",
    complaint: "an hour ago we changed our rule to drop `node_.*` as well. They still arrive.",
    file: { policies: [relabel({ action: "drop", source_labels: ["__name__"], regex: "go_.*" })] },
    late: { policies: [relabel({ action: "drop", source_labels: ["__name__"], regex: "(go|node_.*" })] },
    active: (seen) => seen.metric("gauntlet_tenant_broken", { tenant: seen.tenant }),
  },
  {
    cause: "its policy `limits` allows 3 samples a second, and it sends more: 503 over_rate",
    complaint: "our graphs have holes, and what arrives is late. Prometheus says that it falls behind.",
    file: { policies: [{ plugin: "limits", settings: { samples: { per_second: 3, burst: 15 } } }] },
    active: rejected("over_rate"),
  },
  {
    cause: "`api_requests_total` explodes by its label `session`, so that max_active_series is used up",
    complaint: "new pods do not show up. Those that were there before are fine.",
    file: { limits: { max_active_series: 40 } },
    adds: exploding("api_requests_total", "session"),
    active: rejected("over_active_series"),
  },
  {
    cause: "`rpc_latency_seconds` explodes by its label `trace`, and its budget of 20 series a metric is used up",
    complaint: "`rpc_latency_seconds` has no new series since the release. All our other metrics have.",
    file: { policies: [{ plugin: "limits", settings: { series_budgets: [{ per: ["__name__"], max_active_series: 20 }] } }] },
    adds: exploding("rpc_latency_seconds", "trace"),
    active: rejected("over_budget"),
  },
  {
    cause: "its client certificate has expired: the TLS handshake fails",
    complaint: "nothing of ours arrives since this morning. We have changed nothing.",
    login: "expired",
    active: refused("tls_expired_certificate"),
  },
  {
    cause: "the only endpoint of its upstream refuses connections",
    complaint: "nothing of ours is stored. Prometheus says 503.",
    upstream: "dead",
    active: rejected("upstream_connect"),
  },
  {
    cause: "the only endpoint of its upstream takes connections, and never answers",
    complaint: "no query finds our series. Prometheus says that its writes take seconds and fail.",
    upstream: "hung",
    active: rejected("upstream_timeout"),
  },
  {
    cause: "it sends a wrong password: 401 wrong_credential",
    complaint: "we set up our Prometheus today, exactly by your manual, and nothing arrives.",
    login: "wrong password",
    active: refused("wrong_credential"),
  },
  {
    cause: "its token was replaced in the configuration, and it still sends the old one: 503 credential_removed",
    complaint: "nothing of ours arrives for a few minutes now. Until then all was well.",
    login: "token",
    late: { credentials: [{ bearer_token_sha256: "1".repeat(64) }] },
    active: (seen) => seen.metric("gauntlet_removed_credential_requests_total", { tenant: seen.tenant }),
  },
  {
    cause: "its policy `relabel` drops `jvm_.*` on purpose",
    complaint: "`jvm_memory_used_bytes` is missing, and Prometheus reports no error.",
    file: { policies: [relabel({ action: "drop", source_labels: ["__name__"], regex: "jvm_.*" })] },
    adds: () => series("jvm_memory_used_bytes", 2, (place) => ({ job: "java", area: ["heap", "nonheap"][place] })),
    active: (seen) => seen.metric("gauntlet_dropped_samples_total", { tenant: seen.tenant, policy: "relabel" }),
  },
  {
    cause: "its policy `route` names an upstream that is not the tenant's, so that it was never ready: 503 tenant_broken",
    complaint: "you set us up today, and all that our Prometheus says is 503.",
    file: {
      policies: [{ plugin: "route", settings: { routes: [{ match: { __name__: "kube_.*" }, upstream: "thanos-archive" }] } }],
    },
    active: (seen) => seen.metric("gauntlet_tenant_broken", { tenant: seen.tenant }),
  },
  {
    cause: "its receiver refuses samples as out of order: its two senders write the same series",
    complaint: "since we run two Prometheus servers, samples are missing, and both log errors.",
    answer: (samples) => [409, `add ${Math.ceil(samples / 2)} samples: out of order sample\n`],
    active: rejected("upstream_out_of_order"),
  },
  {
    cause: "its samples are a day old, and its receiver refuses them as too old",
    complaint: "our cluster came back from a day without network. What it had kept does not arrive.",
    age: 24 * 3600 * 1000,
    answer: (samples) => [409, `add ${samples} samples: too old sample\n`],
    active: rejected("upstream_too_old"),
  },
  {
    cause: "the write of its batch job is larger than its max_body_size of 2KiB: 400 body_too_large",
    complaint: "`batch_rows_total` never arrives. All else that we send does.",
    file: { limits: { max_body_size: "2KiB" } },
    own: () => series("batch_rows_total", 100, (place) => ({ job: "batch", partition: `part-${place}` })),
    active: refused("body_too_large"),
  },
];
