package main

import (
	"testing"

	"policy.example/my-policy/gauntlet"
)

// A policy is an ordinary type, so `go test` tests it as one; `gauntlet plugin test` asks the component itself.
func TestTheClusterTakesTheReplicasPlace(t *testing.T) {
	policy, err := configure(`{"cluster": "setsuna"}`, gauntlet.Context{Tenant: "kazusa", Upstreams: []string{"main"}})
	if err != nil {
		t.Fatal(err)
	}
	series := gauntlet.NewSeries("__name__", "http_requests_total", "replica", "0")
	policy.(*MyPolicy).Relabel(series)
	if series.Value("cluster") != "setsuna" || series.Value("replica") != "" {
		t.Fatal(series)
	}
}
