// House rules: what every example of a policy does, in each language.
//
// Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
// cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000.

import { Context, Decision, Inputs, Level, Series, Settings, Write, log } from "./gauntlet";

let cluster = "";
let kubeUpstream = "";
let samplesPerSecond: f64 = 0;

/** Gives what is wrong, if anything is. */
export function configure(text: string, context: Context): string | null {
  const settings = new Settings(text, ["cluster", "kube_upstream"], ["samples_per_second"]);
  if (settings.wrong !== null) return settings.wrong;
  cluster = settings.string("cluster");
  kubeUpstream = settings.string("kube_upstream");
  samplesPerSecond = settings.float("samples_per_second", 1e6);
  if (cluster == "") return "cluster is missing";
  if (kubeUpstream != "" && !context.upstreams.includes(kubeUpstream)) {
    return "kube_upstream: " + context.tenant + " has no upstream `" + kubeUpstream + "`";
  }
  log(Level.Info, "house rules for cluster " + cluster);
  return null;
}

export function relabel(series: Series): void {
  const name = series.value("__name__");
  if (name.startsWith("go_")) {
    series.drop("go_metrics");
  } else if (name.startsWith("kube_")) {
    series.stream = "kube";
  } else if (name.startsWith("debug_")) {
    series.assignBudget("debug", 1000);
  } else if (name != "up") {
    series.remove("replica");
    series.set("cluster", cluster);
  }
}

export function inputs(): Inputs {
  return Inputs.Totals;
}

export function admit(write: Write): Decision {
  const decision = new Decision();
  let samples: u64 = 0;
  for (let i = 0; i < write.streams.length; i++) {
    const stream = write.streams[i];
    samples += stream.samples + stream.histograms;
    if (stream.name == "kube" && kubeUpstream != "") decision.route("kube", kubeUpstream);
  }
  if (samples > 5000) return Decision.reject("more than 5000 samples in one write");
  decision.charge("samples", samples, samplesPerSecond, <u64>(samplesPerSecond * 5));
  return decision;
}
