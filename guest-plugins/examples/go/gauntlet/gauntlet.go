// Package gauntlet is what a Gauntlet policy in Go is written with, for contract gauntlet:policy@1.0.0.
//
// Call Export once, in init, with a function that makes the policy from its settings. What it gives is a Relabeller, an
// Admitter, or both. Never keep anything else between calls: the gateway remembers verdicts, so a policy must depend on its
// settings, its context and the series alone.
package gauntlet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Policy is anything made from settings.
type Policy any

// A Relabeller decides about series.
type Relabeller interface {
	// Relabel decides about one series by changing it; one that is left alone is kept.
	Relabel(series *Series)
}

// An Admitter decides about writes.
type Admitter interface {
	Admit(write *Write) Decision
	// Inputs says what decisions depend on, besides tenant, subject, protocol and the streams' names. What it does not
	// name is zero in every write.
	Inputs() Inputs
}

// Context is where a policy is in force.
type Context struct {
	Tenant string
	// The upstreams that the tenant may route to. The first one takes what is not routed.
	Upstreams []string
}

// Label has the layout of the contract's label, as Write and others below do not need to.
type Label struct {
	Name, Value string
}

// Series is one label set, and what becomes of it.
type Series struct {
	labels  []Label
	changed bool
	reason  *string
	stream  *string
	budget  *budget
}

type budget struct {
	name            string
	maxActiveSeries uint64
}

// NewSeries makes a series of names and values in turn, for tests.
func NewSeries(pairs ...string) *Series {
	series := &Series{}
	for i := 0; i+1 < len(pairs); i += 2 {
		series.labels = append(series.labels, Label{pairs[i], pairs[i+1]})
	}
	return series
}

// Labels gives all labels, which must not be written to.
func (s *Series) Labels() []Label { return s.labels }

// Value is that of a label, and empty where there is no such label.
func (s *Series) Value(name string) string {
	if at := s.find(name); at >= 0 {
		return s.labels[at].Value
	}
	return ""
}

// Set adds a label or changes its value. An empty value removes it.
func (s *Series) Set(name, value string) {
	at := s.find(name)
	switch {
	case value == "":
		s.Remove(name)
	case at < 0:
		s.labels = append(s.labels, Label{name, value})
		s.changed = true
	case s.labels[at].Value != value:
		s.labels[at].Value = value
		s.changed = true
	}
}

// Remove removes a label.
func (s *Series) Remove(name string) {
	if at := s.find(name); at >= 0 {
		s.labels = append(s.labels[:at], s.labels[at+1:]...)
		s.changed = true
	}
}

func (s *Series) find(name string) int {
	for i := range s.labels {
		if s.labels[i].Name == name {
			return i
		}
	}
	return -1
}

// Drop drops the series. The reason is counted and shown: one of a few short words.
func (s *Series) Drop(reason string) { s.reason = &reason }

// AssignStream says in which stream the series travels from here on; a decision may route it.
func (s *Series) AssignStream(name string) { s.stream = &name }

// AssignBudget says against which budget the series counts: new ones are refused where it has as many active ones already.
func (s *Series) AssignBudget(name string, maxActiveSeries uint64) {
	s.budget = &budget{name, maxActiveSeries}
}

// Reason is why the series was dropped, and whether it was.
func (s *Series) Reason() (string, bool) {
	if s.reason == nil {
		return "", false
	}
	return *s.reason, true
}

// String shows the labels.
func (s *Series) String() string {
	var shown strings.Builder
	for i, label := range s.labels {
		if i > 0 {
			shown.WriteString(", ")
		}
		fmt.Fprintf(&shown, "%s=%q", label.Name, label.Value)
	}
	return "{" + shown.String() + "}"
}

// Write is one write, after every series was judged.
type Write struct {
	Tenant, Subject, Protocol                              string
	CompressedBytes, DecodedBytes, ActiveSeries, NewSeries uint64
	Streams                                                []StreamTotals
}

// StreamTotals is what a stream carries; the default stream has no name.
type StreamTotals struct {
	Name                                   string
	Series, Samples, Histograms, Exemplars uint64
}

// Inputs are what of a write a decision depends on.
type Inputs uint8

const (
	InputCompressedBytes Inputs = 1 << iota
	InputDecodedBytes
	InputActiveSeries
	InputNewSeries
	InputTotals
)

// Decision is about a write; an empty one admits it.
type Decision struct {
	Charges  []Charge
	Routes   []Route
	Rejected string
}

// Charge is what to take from a bucket that the gateway keeps.
type Charge struct {
	Bucket    string
	Tokens    uint64
	PerSecond float64
	Burst     uint64
}

// Route is the upstream that a stream goes to.
type Route struct {
	Stream, Upstream string
}

// Reject refuses a write for good (400); the text is shown to the sender.
func Reject(text string) Decision { return Decision{Rejected: text} }

// Charge adds a charge.
func (d *Decision) Charge(bucket string, tokens uint64, perSecond float64, burst uint64) {
	d.Charges = append(d.Charges, Charge{bucket, tokens, perSecond, burst})
}

// Route adds a route.
func (d *Decision) Route(stream, upstream string) {
	d.Routes = append(d.Routes, Route{stream, upstream})
}

// ReadSettings reads settings into a struct with json tags. A key that it does not have is an error.
func ReadSettings(text string, into any) error {
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("settings are more than one JSON value")
	}
	return nil
}
