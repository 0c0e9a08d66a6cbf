// Command storage prints what a Prometheus or a Thanos receiver has in its write-ahead log, one series per line of JSON.
//
// Takes folders of a log and a window of time in milliseconds; gives values as bits, histograms bucket by bucket, stale
// markers and exemplars. A sample counts as a restart would count it: of one series, each is newer than the last, but for
// those in the log of out-of-order samples beside. It reads while the owner writes, and a record that is half there is not
// there yet.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

type point struct {
	Time  int64  `json:"t"`
	Value string `json:"v"`
}

type series struct {
	Folder    string            `json:"folder"`
	Labels    map[string]string `json:"labels"`
	Points    []point           `json:"points"`
	Exemplars []point           `json:"exemplars"`
	newest    int64
	times     map[int64]bool
	exemplars map[point]bool
}

type window struct{ since, until int64 }

func main() {
	var w window
	flag.Int64Var(&w.since, "since", 0, "the first millisecond")
	flag.Int64Var(&w.until, "until", math.MaxInt64, "the last millisecond")
	flag.Parse()
	out := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(out)
	for _, folder := range flag.Args() {
		all, err := read(folder, w)
		if err != nil {
			log.Fatalf("%s: %v", folder, err)
		}
		for _, one := range all {
			if len(one.Points) == 0 && len(one.Exemplars) == 0 {
				continue
			}
			if err := encoder.Encode(one); err != nil {
				log.Fatal(err)
			}
		}
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func read(folder string, w window) (map[string]*series, error) {
	r := reader{folder: folder, window: w, all: map[string]*series{}, by: map[chunks.HeadSeriesRef]*series{}}
	r.decoder = record.NewDecoder(labels.NewSymbolTable(), slog.Default())
	if err := r.log(folder); err != nil {
		return nil, err
	}
	r.outOfOrder = true
	err := r.log(filepath.Join(filepath.Dir(folder), "wbl"))
	if os.IsNotExist(err) {
		err = nil
	}
	return r.all, err
}

func (r *reader) log(folder string) error {
	if _, err := os.Stat(folder); err != nil {
		return err
	}
	segments, err := wlog.NewSegmentsReader(folder)
	if err != nil {
		return err
	}
	defer segments.Close()
	records := wlog.NewReader(segments)
	for records.Next() {
		if err := r.take(records.Record()); err != nil {
			return err
		}
	}
	return nil
}

type reader struct {
	window
	folder  string
	decoder record.Decoder
	all     map[string]*series
	by      map[chunks.HeadSeriesRef]*series
	// Whether the log of out-of-order samples is being read.
	outOfOrder bool
}

func (r *reader) take(rec []byte) error {
	switch r.decoder.Type(rec) {
	case record.Series:
		found, err := r.decoder.Series(rec, nil)
		for _, one := range found {
			r.by[one.Ref] = r.series(one.Labels)
		}
		return err
	case record.Samples, record.SamplesV2:
		found, err := r.decoder.Samples(rec, nil)
		for _, one := range found {
			r.point(one.Ref, one.T, bits(one.V))
		}
		return err
	case record.HistogramSamples, record.CustomBucketsHistogramSamples, record.HistogramSamplesV2:
		found, err := r.decoder.HistogramSamples(rec, nil)
		for _, one := range found {
			r.point(one.Ref, one.T, whole(one.H))
		}
		return err
	case record.FloatHistogramSamples, record.CustomBucketsFloatHistogramSamples, record.FloatHistogramSamplesV2:
		found, err := r.decoder.FloatHistogramSamples(rec, nil)
		for _, one := range found {
			r.point(one.Ref, one.T, float(one.FH))
		}
		return err
	case record.Exemplars:
		found, err := r.decoder.Exemplars(rec, nil)
		for _, one := range found {
			r.exemplar(one)
		}
		return err
	}
	return nil
}

func (r *reader) series(set labels.Labels) *series {
	text := set.String()
	known, ok := r.all[text]
	if !ok {
		known = &series{
			Folder:    r.folder,
			Labels:    map[string]string{},
			Points:    []point{},
			Exemplars: []point{},
			newest:    math.MinInt64,
			times:     map[int64]bool{},
			exemplars: map[point]bool{},
		}
		set.Range(func(l labels.Label) { known.Labels[strings.Clone(l.Name)] = strings.Clone(l.Value) })
		r.all[text] = known
	}
	return known
}

func (r *reader) point(ref chunks.HeadSeriesRef, t int64, value string) {
	one, ok := r.by[ref]
	if !ok || one.times[t] || (t <= one.newest && !r.outOfOrder) {
		return
	}
	one.newest = max(t, one.newest)
	one.times[t] = true
	if t >= r.since && t <= r.until {
		one.Points = append(one.Points, point{t, value})
	}
}

func (r *reader) exemplar(e record.RefExemplar) {
	one, ok := r.by[e.Ref]
	p := point{e.T, e.Labels.String() + " " + bits(e.V)}
	if !ok || one.exemplars[p] || e.T < r.since || e.T > r.until {
		return
	}
	one.exemplars[p] = true
	one.Exemplars = append(one.Exemplars, p)
}

func bits(value float64) string { return fmt.Sprintf("%016x", math.Float64bits(value)) }

// Everything but the hint whether it was reset, which is for readers and may be found again by a receiver.
func whole(h *histogram.Histogram) string {
	return fmt.Sprintf("integer schema %d zero %s %d count %d sum %s positive %v %v negative %v %v bounds %v",
		h.Schema, bits(h.ZeroThreshold), h.ZeroCount, h.Count, bits(h.Sum),
		h.PositiveSpans, h.PositiveBuckets, h.NegativeSpans, h.NegativeBuckets, h.CustomValues)
}

func float(h *histogram.FloatHistogram) string {
	return fmt.Sprintf("float schema %d zero %s %s count %s sum %s positive %v %v negative %v %v bounds %v",
		h.Schema, bits(h.ZeroThreshold), bits(h.ZeroCount), bits(h.Count), bits(h.Sum),
		h.PositiveSpans, h.PositiveBuckets, h.NegativeSpans, h.NegativeBuckets, h.CustomValues)
}
