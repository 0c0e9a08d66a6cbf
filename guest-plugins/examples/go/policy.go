// House rules: what every example of a policy does, in each language.
//
// Drops the Go runtime's metrics, keeps `up` as it is, sends kube_* its own way, bounds debug_*, and gives all others the
// cluster's name in place of their `replica`. Charges samples, and refuses a write with more than 5000.
package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"policy.example/my-policy/gauntlet"
)

type MyPolicy struct {
	Cluster          string  `json:"cluster"`
	KubeUpstream     string  `json:"kube_upstream"`
	SamplesPerSecond float64 `json:"samples_per_second"`
}

func configure(settings string, context gauntlet.Context) (gauntlet.Policy, error) {
	rules := &MyPolicy{SamplesPerSecond: 1e6}
	if err := gauntlet.ReadSettings(settings, rules); err != nil {
		return nil, err
	}
	if rules.Cluster == "" {
		return nil, errors.New("cluster is missing")
	}
	if rules.KubeUpstream != "" && !slices.Contains(context.Upstreams, rules.KubeUpstream) {
		return nil, fmt.Errorf("kube_upstream: %s has no upstream `%s`", context.Tenant, rules.KubeUpstream)
	}
	gauntlet.Info("house rules for cluster " + rules.Cluster)
	return rules, nil
}

func (rules *MyPolicy) Relabel(series *gauntlet.Series) {
	name := series.Value("__name__")
	switch {
	case strings.HasPrefix(name, "go_"):
		series.Drop("go_metrics")
	case strings.HasPrefix(name, "kube_"):
		series.AssignStream("kube")
	case strings.HasPrefix(name, "debug_"):
		series.AssignBudget("debug", 1000)
	case name != "up":
		series.Remove("replica")
		series.Set("cluster", rules.Cluster)
	}
}

func (rules *MyPolicy) Inputs() gauntlet.Inputs {
	return gauntlet.InputTotals
}

func (rules *MyPolicy) Admit(write *gauntlet.Write) gauntlet.Decision {
	decision := gauntlet.Decision{}
	samples := uint64(0)
	for _, stream := range write.Streams {
		samples += stream.Samples + stream.Histograms
		if stream.Name == "kube" && rules.KubeUpstream != "" {
			decision.Route("kube", rules.KubeUpstream)
		}
	}
	if samples > 5000 {
		return gauntlet.Reject("more than 5000 samples in one write")
	}
	decision.Charge("samples", samples, rules.SamplesPerSecond, uint64(rules.SamplesPerSecond*5))
	return decision
}

func init() { gauntlet.Export(configure) }

func main() {}
