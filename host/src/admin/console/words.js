// What the gateway's words mean, and what to do.
//
// Takes a reason of docs/protocol.md, gives sentences for a person in trouble. Never guesses: a word that is not here is
// shown as it is, because policies have words of their own. A test holds this table against docs/protocol.md.

/** Who can mend it. */
const SENDER = "who runs the sender";
const TENANT = "the tenant";
const OPERATOR = "the operator";
const RECEIVER = "who runs the receivers";
const TIME = "nobody, it heals by itself";

const RETRIED = "The sender keeps the samples and sends them again.";

/** What happened, who can mend it, what to do and where. */
const REASONS = {
  invalid_utf8: ["A label name or value is not UTF-8.", SENDER, "Mend the exporter that writes it, or drop the label with a relabel rule in the sender."],
  empty_label_name: ["A label has a value and no name.", SENDER, "Mend the program that makes the series; Prometheus itself never sends this."],
  duplicate_label: ["A label name occurs twice in one series.", SENDER, "Mend the program that makes the series; Prometheus itself never sends this."],
  missing_metric_name: ["The series has no metric name (`__name__`).", SENDER, "Mend the program that makes the series, or the relabel rule that takes the name away."],
  invalid_histogram: ["A native histogram contradicts itself.", SENDER, "Mend or update the program that makes the histogram; the text of the answer says what is wrong with it."],
  no_labels: ["Policies left no labels on the series.", TENANT, "A relabel rule of the chain removes every label: try the series in the playground to see which."],
  too_many_labels: ["The series has more labels than it may have (`max_labels_per_series`; 10,000 in any case).", SENDER, "Drop labels in the sender, or raise `limits.max_labels_per_series` in the tenant's file."],
  label_name_too_long: ["A label name is longer than `max_label_name_length`.", SENDER, "Shorten the name in the sender, or raise `limits.max_label_name_length` in the tenant's file."],
  label_value_too_long: ["A label value is longer than `max_label_value_length`.", SENDER, "Find the label in the refusal's text, shorten or drop it in the sender, or raise `limits.max_label_value_length` in the tenant's file."],
  not_a_legacy_name: ["A name has characters outside of the old pattern, and the tenant has `legacy_names: true`.", SENDER, "Rename it in the sender, or set `legacy_names: false` if the receivers take UTF-8 names."],
  reserved_label_taken: ["The series carries a reserved label, and also the `exported_` name that it would be renamed to.", SENDER, "Drop one of the two labels in the sender."],
  labels_too_large: ["The series has more label text than any policy is asked about (512 labels or 64 KiB after a policy, 512 KiB before).", SENDER, "Find the label that holds a document instead of a name, and drop it in the sender."],
  stream_name: ["A policy put the series into a stream whose name is not allowed.", TENANT, "Shorten the stream's name in the policy's settings: 128 bytes at most, no control characters."],
  too_many_streams: ["Policies named more streams than there may be.", TENANT, "Let the policy use fewer streams: a stream is for a route, and not for a label's values."],
  budget_name: ["A policy put the series into a budget whose name is not allowed.", TENANT, "Mend the budget's name in the policy's settings: 1 to 128 bytes, no control characters."],
  fails_policy: ["A policy fails on this series.", TENANT, "Look at the policy's refused series and log under Policies, mend the plugin, or set its `on_failure`."],
  over_active_series: ["The series is new, and the tenant has as many active series as it may have (`max_active_series`).", TENANT, "Look at which metric and label grew under `New series`, stop that in the sender, or raise `limits.max_active_series`."],
  over_budget: ["The series is new, and its budget has as many series as it may have.", TENANT, "The refusal's text names the budget. Stop the growth in the sender, or raise the budget in the policy's settings."],
  body_too_large: ["The body is larger than `max_body_size`.", SENDER, "Lower `max_samples_per_send` in the sender's `queue_config`, or raise `limits.max_body_size`."],
  body_framing: ["The body's chunks are not framed as HTTP says.", SENDER, "Something between sender and gateway breaks HTTP: look at proxies on the way."],
  decoded_too_large: ["The body would decode to more than `max_decoded_size`.", SENDER, "Lower `max_samples_per_send` in the sender's `queue_config`, or raise `limits.max_decoded_size`."],
  snappy: ["The body is not snappy in the block format.", SENDER, "The sender does not speak Prometheus remote write, or a proxy changed the body."],
  malformed: ["The body is not the message that its media type names.", SENDER, "Set the sender's `protobuf_message` or version to the one it really sends; look at proxies on the way."],
  too_many_histograms: ["The write has more than 100,000 native histograms.", SENDER, "Lower `max_samples_per_send` in the sender's `queue_config`."],
  too_many_symbols: ["The write has more than 1,048,576 symbols.", SENDER, "Lower `max_samples_per_send` in the sender's `queue_config`."],
  decoded_too_long: ["The body would decode to more than 4 GiB.", SENDER, "No sender does this by mistake: find out who holds the credential."],
  too_many_series: ["The write has more series than `max_series_per_request`.", SENDER, "Lower `max_samples_per_send` in the sender's `queue_config`, or raise `limits.max_series_per_request`."],
  refused_by_policy: ["A policy refused the whole write; the text is the policy's own.", TENANT, "Read the text under `Last refusals`, and try the series in the playground."],
  upstream_invalid: ["A receiver called the write invalid, in words that are not known here.", RECEIVER, "The gateway's log has the receiver's text: look for `write failed` with this reason."],
  upstream_out_of_order: ["The receiver has newer samples of these series.", SENDER, "Two senders write the same series, or one sends its past: give each an own `external_labels` replica, or set an out-of-order window in the receiver."],
  upstream_duplicate: ["The receiver has another value for the same time.", SENDER, "Two senders write the same series: give each its own `external_labels`."],
  upstream_too_old: ["The samples are older than the receiver takes.", SENDER, "The sender was away for long, or its clock is wrong. What is that old cannot be stored."],
  upstream_too_far_ahead: ["The samples lie in the future.", SENDER, "Set the clock of the sender, or of what it scrapes."],
  upstream_out_of_bounds: ["The samples are too old or too far ahead for the receiver.", SENDER, "Look at the clock of the sender, and at how long it was away."],
  upstream_labels: ["The receiver does not take these labels.", SENDER, "The gateway's log has the receiver's text, which says what is wrong with them."],
  upstream_limit: ["The receiver has a limit of its own, and the write is over it.", RECEIVER, "Raise the limit in the receiver, or send smaller writes (`max_samples_per_send`)."],
  upstream_exemplars: ["The receiver refused exemplars; the samples are stored.", RECEIVER, "Nothing, unless the exemplars are missed."],
  upstream_conflict: ["The receiver refused samples, in words that are not known here.", RECEIVER, "The gateway's log has the receiver's text: look for `write failed` with this reason."],
  upstream_not_written: ["A receiver of remote write 2.0 said that it stored fewer samples than it was sent.", RECEIVER, "The gateway's log has the receiver's text, which says why."],
  upstream_unknown: ["A receiver refused some samples of a write without saying which.", RECEIVER, "The gateway's log has the receiver's text. Some of these samples may be stored."],
  already_stored: ["The samples were stored when the same write came before; they are not lost.", TIME, "Nothing."],
  no_credential: ["The request brought no credential.", SENDER, "Add `tls_config` with a client certificate, `authorization` or `basic_auth` to the sender's `remote_write`."],
  wrong_credential: ["Nobody has this credential.", SENDER, "Compare it with the tenant's file: the certificate's name, or the token's or password's hash. It may be old."],
  ambiguous_credentials: ["The credentials of one request belong to different tenants.", SENDER, "Send one credential only, or those of one tenant."],
  tenant_disabled: ["The tenant is switched off (`disabled: true`).", TENANT, "Remove `disabled` from the tenant's file if it should write again."],
  path_tenant: ["The path names another tenant than the credential's.", SENDER, "Mend the tenant in the sender's URL, or use the path without one."],
  unknown_path: ["There is nothing at this path.", SENDER, "Write to /api/v1/receive, or add the path to `remote_write.paths`."],
  method: ["The request is no POST.", SENDER, "It is no remote write: find out what asks."],
  media_type: ["The body is not remote write by its `Content-Type`.", SENDER, "Configure the sender for Prometheus remote write; OTLP is not spoken here."],
  encoding: ["The body is not compressed with snappy.", SENDER, "Let the sender compress with snappy, the default of Prometheus."],
  over_rate: ["A rate limit of a policy is used up.", TENANT, "Raise `per_second` or `burst` in the limits policy's settings, or let the sender write less."],
  upstream_over_rate: ["A receiver limits this tenant (429).", RECEIVER, "Raise the tenant's limit in the receiver, or let the sender write less."],
  bug: ["The gateway has a bug.", OPERATOR, `Report it with the log's lines about it. ${RETRIED}`],
  tenant_requests: ["The tenant has `max_concurrent_requests` writes in flight.", TENANT, "Receivers may be slow: look at Upstreams first. Else lower `max_shards` in the sender, or raise the limit."],
  tenant_bytes: ["The tenant has `max_in_flight_size` bytes of bodies in flight.", TENANT, "Receivers may be slow: look at Upstreams first. Else send smaller writes, or raise the limit."],
  share_of_requests: ["All tenants together are near the bound of writes in flight, and this one has more than its share.", OPERATOR, "Receivers may be slow: look at Upstreams first. Else raise `remote_write.max_concurrent_requests` or add a replica."],
  share_of_bytes: ["All tenants together are near the bound of bytes in flight, and this one has more than its share.", OPERATOR, "Receivers may be slow: look at Upstreams first. Else give the process more memory or add a replica."],
  overloaded_requests: ["The process has as many writes in flight as it may have.", OPERATOR, "Receivers may be slow: look at Upstreams first. Else raise `remote_write.max_concurrent_requests` or add a replica."],
  overloaded_bytes: ["The process has as many bytes of bodies in flight as it may have.", OPERATOR, "Receivers may be slow: look at Upstreams first. Else give the process more memory or add a replica."],
  overloaded_memory: ["The memory of the process is used up.", OPERATOR, "Give the process more memory (`memory_limit` follows the container's), or add a replica."],
  overloaded_processor: ["More work waits for a processor than may wait.", OPERATOR, "Look for a policy that takes long under Policies; else give the process more processors or add a replica."],
  overloaded: ["Too many passwords wait to be checked.", OPERATOR, "Hash passwords at a lower cost, or let tenants use tokens or certificates."],
  slow_body: ["The body came slower than it must.", SENDER, "The network between sender and gateway is slow or lossy."],
  body_timeout: ["The body took longer than `body_timeout`.", SENDER, "The network between sender and gateway is slow or lossy; else send smaller writes."],
  disconnected: ["The sender went away before the whole body had come.", SENDER, "Usually a restart of the sender. If it goes on, look at timeouts of proxies on the way."],
  tenant_broken: ["The tenant's configuration cannot be used, and there is no older one to serve it.", TENANT, "Mend the file: the error is on the overview, with file, line and column."],
  credentials_unknown: ["Nobody is known to have the credential, but a tenant file cannot be read: it may be that tenant's.", OPERATOR, "Mend the broken tenant file that is named on the overview."],
  credential_removed: ["The credential was in use until it was taken out of the configuration.", SENDER, "Give the sender its new credential before `credential_grace` is over, or put the old one back."],
  out_of_turn: ["An older write with the same series was told to wait, and comes first.", SENDER, "Nothing: look at what the older write waits for, most often a rate."],
  no_generation: ["The tenant is configured, but its policies could not be made ready.", OPERATOR, "Look at the plugin errors of the last reload under Policies."],
  policy_failed: ["A policy failed.", TENANT, "Look at the policy's failure and log under Policies. `on_failure: bypass` lets writes past it meanwhile."],
  policy_quarantined: ["A policy keeps failing and is not called for a while.", TENANT, "Look at the policy's failure and log under Policies, mend it, or go back to the policies before."],
  policy_impure: ["A policy gave two answers about one series and is not called any more.", TENANT, "Look at both answers under Policies. A policy must decide by the series alone; mend it and reload."],
  policy_overloaded: ["Too many calls of policies wait.", OPERATOR, "Look for a policy that takes long under Policies; else give the process more processors."],
  policy_charges: ["A policy asked for more buckets than there may be.", TENANT, "Mend the policy: buckets are for a tenant's rates, and not for a label's values."],
  policy_route: ["A policy asked for an upstream that is not the tenant's.", TENANT, "Add the upstream to `upstreams` in the tenant's file, or mend the policy's route."],
  edited_too_long: ["Policies made the write longer than it may be.", TENANT, "Mend the policy that adds so much label text."],
  no_endpoint: ["The upstream has no endpoint to send to.", OPERATOR, "Look at Upstreams: the name may not resolve."],
  upstream_connect: ["No receiver could be reached.", RECEIVER, "Look at Upstreams for the address and the error; start the receiver, or mend the network or the address."],
  upstream_reset: ["Receivers closed the connection before they answered.", RECEIVER, "Look at the receivers' logs: they may be restarting, or short of memory."],
  upstream_timeout: ["No receiver answered in time.", RECEIVER, "Look at the receivers' load and disks; or raise `timeout` of the upstream."],
  upstream_unavailable: ["Receivers answered 5xx.", RECEIVER, "Look at the receivers' logs; a hashring without a quorum says so there."],
  upstream_overloaded: ["The upstream has as many requests in flight as it may have.", RECEIVER, "The receivers are slow. Look at their load, or raise `max_in_flight` of the upstream."],
  upstream_nonsense: ["What answered is no HTTP server.", OPERATOR, "The upstream's address or scheme is wrong: look at Upstreams."],
  upstream_misconfigured: ["The receiver answered with a status that no write should meet.", OPERATOR, "Look at Upstreams: it says what was asked, what was answered and which key of the configuration to look at."],
  abandoned: ["The sender hung up before it was answered.", SENDER, `Receivers or policies may be slow: look at Upstreams. ${RETRIED}`],
  tls_no_certificate: ["The sender showed no client certificate, where one is needed.", SENDER, "Add `tls_config` with `cert_file` and `key_file` to its `remote_write`."],
  tls_unknown_ca: ["The client certificate is of an authority that is not trusted here.", SENDER, "Give the sender a certificate of the right authority, or add its authority to `client_ca_file`."],
  tls_expired_certificate: ["The client certificate has expired, or is not valid yet.", SENDER, "Renew the sender's certificate, and look at both clocks."],
  tls_bad_certificate: ["The client certificate was refused.", SENDER, "The text says why. Renew the sender's certificate."],
  tls_refused_by_sender: ["The sender does not trust the gateway's certificate.", SENDER, "Set `ca_file` in the sender's `tls_config`, and the name that the certificate has."],
  tls_version: ["Sender and gateway have no TLS version in common.", SENDER, "Update the sender, or lower `min_version` of the listener."],
  tls_timeout: ["The handshake took too long.", SENDER, "The network between sender and gateway is slow or lossy."],
  tls_not_tls: ["The connection does not speak TLS.", SENDER, "Write https:// in the sender's URL."],
  tls_closed: ["The sender went away during the handshake.", SENDER, "Usually a probe of a load balancer, or a sender that does not trust the gateway's certificate."],
  tls_other: ["The handshake failed.", SENDER, "The text says why."],
  head_timeout: ["The sender connected and sent no whole request.", SENDER, "Usually a probe; else look at proxies on the way."],
};

/** What a reason means: `{what, who, fix}`; null of a word that the gateway does not have. */
export function explain(reason) {
  const found = Object.hasOwn(REASONS, reason ?? "") ? REASONS[reason] : null;
  return found && { what: found[0], who: found[1], fix: found[2] };
}

/** What a status means for the data. */
export function fate(status, kept) {
  if (kept ?? status >= 500) return "kept by the sender and sent again";
  if (status >= 400) return "dropped by the sender: lost";
  return "";
}

/** What is counted of samples, in the order of the picture. */
export const FATES = {
  kept: ["kept", "stored as they were sent"],
  edited: ["edited", "stored after a policy changed labels"],
  dropped: ["dropped", "left out by policies, on purpose"],
  rejected: ["rejected", "refused, and not sent again: lost"],
  waiting: ["waiting", "told to wait (503): the sender keeps them"],
};

/** How an endpoint failed. */
export const FAILURES = {
  connect: "no connection could be made",
  reset: "the connection was closed before an answer",
  timeout: "there was no answer in time",
  slow: "it answers much slower than others",
  server_error: "it answered 5xx",
  nonsense: "what answered is no HTTP",
  misconfigured: "it answered with a status that no write should meet",
};

/** What was said of a series or a write. */
export const SAID = {
  keep: "left it as it is",
  edit: "changed it",
  drop: "dropped it, on purpose",
  refuse: "refused it",
  admit: "let the write in",
  reject: "refused the whole write",
  failed: "failed",
  left_out: "failed and was left out (`on_failure: bypass`)",
  not_asked: "was not asked: nothing was left to ask about",
};
