/* House rules: what every example of a policy does, in each language.
 *
 * Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
 * cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000. */
#define GAUNTLET_RELABEL
#define GAUNTLET_ADMIT
#include "gauntlet.h"

static gauntlet_text cluster, kube_upstream;
static double samples_per_second;

static gauntlet_text check_upstream(const gauntlet_context *context) {
  for (size_t i = 0; i < context->upstream_count; i++)
    if (gauntlet_same(context->upstreams[i], kube_upstream)) return gauntlet_of("");
  gauntlet_text parts[] = {gauntlet_of("kube_upstream: "), context->tenant, gauntlet_of(" has no upstream `"),
                           kube_upstream, gauntlet_of("`")};
  return gauntlet_join(parts, 5);
}

gauntlet_text policy_configure(gauntlet_text settings, const gauntlet_context *context) {
  gauntlet_setting known[] = {
      {.key = "cluster", .kind = GAUNTLET_STRING},
      {.key = "kube_upstream", .kind = GAUNTLET_STRING},
      {.key = "samples_per_second", .kind = GAUNTLET_NUMBER, .number = 1e6},
  };
  gauntlet_text wrong = gauntlet_read_settings(settings, known, 3);
  if (wrong.len) return wrong;
  cluster = known[0].text;
  kube_upstream = known[1].text;
  samples_per_second = known[2].number;
  if (!cluster.len) return gauntlet_of("cluster is missing");
  if (known[1].given) wrong = check_upstream(context);
  gauntlet_text message[] = {gauntlet_of("house rules for cluster "), cluster};
  gauntlet_log(GAUNTLET_INFO, gauntlet_join(message, 2));
  return wrong;
}

void policy_relabel(gauntlet_series *series) {
  gauntlet_text name = gauntlet_value(series, "__name__");
  if (gauntlet_starts_with(name, "go_")) {
    gauntlet_drop(series, "go_metrics");
  } else if (gauntlet_starts_with(name, "kube_")) {
    gauntlet_stream(series, "kube");
  } else if (gauntlet_starts_with(name, "debug_")) {
    gauntlet_budget(series, "debug", 1000);
  } else if (!gauntlet_is(name, "up")) {
    gauntlet_remove(series, "replica");
    gauntlet_set(series, "cluster", cluster);
  }
}

int policy_inputs(void) { return GAUNTLET_TOTALS; }

void policy_admit(const gauntlet_write *write, gauntlet_decision *decision) {
  uint64_t samples = 0;
  for (size_t i = 0; i < write->stream_count; i++) {
    samples += write->streams[i].totals.samples + write->streams[i].totals.histograms;
    if (gauntlet_is(write->streams[i].name, "kube") && kube_upstream.len) gauntlet_route(decision, "kube", kube_upstream);
  }
  gauntlet_charge(decision, "samples", samples, samples_per_second, (uint64_t)(samples_per_second * 5));
  if (samples > 5000) gauntlet_reject(decision, gauntlet_of("more than 5000 samples in one write"));
}
