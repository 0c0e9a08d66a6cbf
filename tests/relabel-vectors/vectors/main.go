// Vectors writes what the real Prometheus makes of relabelling rules, for the relabel plugin's tests.
//
//	go run ./vectors >../../guest-plugins/relabel/testdata/vectors.json
//
// Rules are written as JSON, which Prometheus reads as YAML, so that both are given the same bytes. Cases are
// handwritten (cases.go) and generated (random.go) from a fixed seed.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v2"
)

// A ruleCase is a list of rules and what they do to series, or why Prometheus refuses them.
type ruleCase struct {
	Rules  json.RawMessage `json:"rules"`
	Error  string          `json:"error,omitempty"`
	Series []judged        `json:"series,omitempty"`
}

// A judged series: names and values in turn. No Out: dropped.
type judged struct {
	In  []string  `json:"in"`
	Out *[]string `json:"out"`
}

// A patternCase is a pattern, and what `replace` writes for texts with the template of patternRule; null: no match.
type patternCase struct {
	Pattern string       `json:"pattern"`
	Error   string       `json:"error,omitempty"`
	Texts   [][2]*string `json:"texts,omitempty"`
}

// A caseCase is a text in lower and upper case.
type caseCase [3]string

type vectors struct {
	Rules    []ruleCase    `json:"rules"`
	Template string        `json:"template"`
	Patterns []patternCase `json:"patterns"`
	Case     []caseCase    `json:"case"`
}

const template = "<$0,$1,$2,$3,${n}>"

func main() {
	all := vectors{Template: template}
	for _, c := range handwritten {
		all.Rules = append(all.Rules, judge(c.rules, c.series))
	}
	random := newRandom(1)
	for range 1500 {
		rules, series := random.rules()
		all.Rules = append(all.Rules, judge(rules, series))
	}
	seen := map[string]bool{}
	pattern := func(pattern string, texts []string) {
		if !seen[pattern] {
			seen[pattern] = true
			all.Patterns = append(all.Patterns, match(pattern, texts))
		}
	}
	for _, p := range handwrittenPatterns {
		pattern(p.pattern, p.texts)
	}
	for range 2500 {
		pattern(random.pattern(), random.texts(6))
	}
	for range 1500 {
		pattern(random.noise(), random.texts(2))
	}
	for _, text := range caseTexts() {
		all.Case = append(all.Case, caseCase{text, mapCase("lowercase", text), mapCase("uppercase", text)})
	}
	if err := write(all); err != nil {
		panic(err)
	}
}

// write puts each case on a line of its own, so that a change shows as what it is.
func write(all vectors) error {
	var out bytes.Buffer
	encode := func(value any) error {
		encoder := json.NewEncoder(&out)
		encoder.SetEscapeHTML(false)
		return encoder.Encode(value)
	}
	section := func(name string, length int, item func(int) any) error {
		out.WriteString("\"" + name + "\": [\n")
		for i := range length {
			if err := encode(item(i)); err != nil {
				return err
			}
			if i < length-1 {
				out.WriteString(",")
			}
		}
		out.WriteString("]\n")
		return nil
	}
	out.WriteString("{\"template\": ")
	if err := encode(all.Template); err != nil {
		return err
	}
	out.WriteString(",")
	if err := section("rules", len(all.Rules), func(i int) any { return all.Rules[i] }); err != nil {
		return err
	}
	out.WriteString(",")
	if err := section("patterns", len(all.Patterns), func(i int) any { return all.Patterns[i] }); err != nil {
		return err
	}
	out.WriteString(",")
	if err := section("case", len(all.Case), func(i int) any { return all.Case[i] }); err != nil {
		return err
	}
	out.WriteString("}\n")
	_, err := os.Stdout.Write(out.Bytes())
	return err
}

func parse(rules []byte) ([]*relabel.Config, error) {
	var configs []*relabel.Config
	if err := yaml.UnmarshalStrict(rules, &configs); err != nil {
		return nil, err
	}
	for _, config := range configs {
		if config == nil {
			// As Prometheus does where it reads a list of rules.
			return nil, errors.New("yaml: empty or null relabeling rule")
		}
		if err := config.Validate(model.UTF8Validation); err != nil {
			return nil, err
		}
	}
	return configs, nil
}

func judge(rules string, series [][]string) ruleCase {
	configs, err := parse([]byte(rules))
	var compact bytes.Buffer
	if err := json.Compact(&compact, []byte(rules)); err != nil {
		panic(rules)
	}
	c := ruleCase{Rules: compact.Bytes()}
	if err != nil {
		c.Error = err.Error()
		return c
	}
	for _, in := range series {
		if in == nil {
			in = []string{}
		}
		builder := labels.NewBuilder(labels.FromStrings(in...))
		var out *[]string
		if relabel.ProcessBuilder(builder, configs...) {
			names := []string{}
			builder.Labels().Range(func(l labels.Label) { names = append(names, l.Name, l.Value) })
			out = &names
		}
		c.Series = append(c.Series, judged{in, out})
	}
	return c
}

func patternRule(pattern string) []byte {
	rule := []map[string]any{{"source_labels": []string{"x"}, "regex": pattern, "target_label": "y", "replacement": template}}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(rule); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func match(pattern string, texts []string) patternCase {
	c := patternCase{Pattern: pattern}
	configs, err := parse(patternRule(pattern))
	if err != nil {
		c.Error = err.Error()
		return c
	}
	for _, text := range slices.Compact(slices.Sorted(slices.Values(texts))) {
		builder := labels.NewBuilder(labels.FromStrings("x", text))
		relabel.ProcessBuilder(builder, configs...)
		var out *string
		if expanded := builder.Get("y"); expanded != "" {
			out = &expanded
		}
		c.Texts = append(c.Texts, [2]*string{&text, out})
	}
	return c
}

func mapCase(action, text string) string {
	config := &relabel.Config{SourceLabels: model.LabelNames{"x"}, TargetLabel: "y", Action: relabel.Action(action), NameValidationScheme: model.UTF8Validation}
	builder := labels.NewBuilder(labels.FromStrings("x", text))
	relabel.ProcessBuilder(builder, config)
	return builder.Get("y")
}
