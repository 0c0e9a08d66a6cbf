// House rules: what every example of a policy does, in each language.
//
// Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
// cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000.
#include "gauntlet.hpp"

class MyPolicy {
 public:
  // Gives what is wrong, if anything is.
  std::optional<std::string> configure(std::string_view settings, const gauntlet::Context &context) {
    auto known = gauntlet::Settings()
                     .text("cluster", cluster_)
                     .text("kube_upstream", kube_upstream_)
                     .number("samples_per_second", samples_per_second_);
    if (auto wrong = known.read(settings)) return wrong;
    if (cluster_.empty()) return "cluster is missing";
    if (!kube_upstream_.empty() && !context.has_upstream(kube_upstream_))
      return "kube_upstream: " + std::string(context.tenant()) + " has no upstream `" + kube_upstream_ + "`";
    gauntlet::log(GAUNTLET_INFO, "house rules for cluster " + cluster_);
    return std::nullopt;
  }

  void relabel(gauntlet::Series &series) const {
    std::string_view name = series.value("__name__");
    if (name.starts_with("go_")) {
      series.drop("go_metrics");
    } else if (name.starts_with("kube_")) {
      series.assign_stream("kube");
    } else if (name.starts_with("debug_")) {
      series.assign_budget("debug", 1000);
    } else if (name != "up") {
      series.remove("replica");
      series.set("cluster", cluster_);
    }
  }

  int inputs() const { return GAUNTLET_TOTALS; }

  void admit(const gauntlet::Write &write, gauntlet::Decision &decision) const {
    uint64_t samples = 0;
    for (const auto &stream : write.streams()) {
      samples += stream.totals.samples + stream.totals.histograms;
      if (gauntlet::view(stream.name) == "kube" && !kube_upstream_.empty()) decision.route("kube", kube_upstream_);
    }
    if (samples > 5000) return decision.reject("more than 5000 samples in one write");
    decision.charge("samples", samples, samples_per_second_, static_cast<uint64_t>(samples_per_second_ * 5));
  }

 private:
  std::string cluster_, kube_upstream_;
  double samples_per_second_ = 1e6;
};

GAUNTLET_POLICY(MyPolicy)
