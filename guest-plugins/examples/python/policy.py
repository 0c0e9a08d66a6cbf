"""House rules: what every example of a policy does, in each language.

Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000.
"""

from gauntlet import Admit, Budget, Charge, ConfigError, Level, Reject, check_settings, log


class MyPolicy:
    def __init__(self, settings, context):
        check_settings(settings, cluster=str, kube_upstream=str, samples_per_second=(int, float))
        self.cluster = settings.get("cluster")
        self.kube_upstream = settings.get("kube_upstream")
        self.samples_per_second = settings.get("samples_per_second", 1e6)
        if not self.cluster:
            raise ConfigError("cluster is missing")
        if self.kube_upstream and self.kube_upstream not in context.upstreams:
            raise ConfigError(f"kube_upstream: {context.tenant} has no upstream `{self.kube_upstream}`")
        log(Level.INFO, f"house rules for cluster {self.cluster}")

    def relabel(self, series):
        name = series.get("__name__", "")
        if name.startswith("go_"):
            series.drop("go_metrics")
        elif name.startswith("kube_"):
            series.stream = "kube"
        elif name.startswith("debug_"):
            series.budget = Budget("debug", 1000)
        elif name != "up":
            series.pop("replica", None)
            series["cluster"] = self.cluster

    inputs = ("totals",)

    def admit(self, write):
        samples = sum(stream.samples + stream.histograms for stream in write.streams)
        if samples > 5000:
            return Reject("more than 5000 samples in one write")
        routed = self.kube_upstream and any(stream.name == "kube" for stream in write.streams)
        return Admit(
            charges=[Charge("samples", samples, self.samples_per_second, int(self.samples_per_second * 5))],
            routes={"kube": self.kube_upstream} if routed else {},
        )
