package main

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"unicode"
)

type random struct{ *rand.Rand }

func newRandom(seed uint64) random {
	return random{rand.New(rand.NewPCG(seed, 2))}
}

func (r random) of(choices ...string) string {
	return choices[r.IntN(len(choices))]
}

func (r random) chance(percent int) bool {
	return r.IntN(100) < percent
}

func (r random) many(most int, piece func() string) string {
	var text strings.Builder
	for range r.IntN(most + 1) {
		text.WriteString(piece())
	}
	return text.String()
}

// texts are made of what patterns are made of, so that a fair part of them match.
func (r random) texts(count int) []string {
	texts := []string{""}
	for range count {
		texts = append(texts, r.many(7, func() string {
			return r.of("a", "a", "a", "b", "b", "c", "A", "B", "1", "2", "_", ":", "-", " ", "\n", "\t", "\v", "é", "É",
				"k", "K", "\u212a", "s", "\u017f", "ß", "λ", "Λ", "界", "😀", ".", "$", "^", "(", ")", "[", "]", "{", "}")
		}))
	}
	return texts
}

func (r random) atom(depth int) string {
	if depth > 0 && r.chance(35) {
		open := r.of("(", "(", "(", "(?:", "(?:", "(?i:", "(?s:", "(?-s:", "(?m:", "(?U:", "(?is-m:", "(?P<n>", "(?<n>", "(?P<1>", "(?P<n2>")
		return open + r.alternation(depth-1) + ")"
	}
	switch r.IntN(14) {
	case 0:
		return r.of(".", ".", "^", "$", `\A`, `\z`, `\b`, `\B`)
	case 1:
		return r.of(`\d`, `\D`, `\w`, `\W`, `\s`, `\S`, `\pL`, `\PL`, `\p{Lu}`, `\P{Greek}`, `\p{^Latin}`, `\pN`, `\p{Han}`, `\p{So}`)
	case 2:
		return r.of(`\n`, `\t`, `\v`, `\x61`, `\x{e9}`, `\x{1F600}`, `\101`, `\0`, `\.`, `\$`, `\_`, `\-`, `\Qa.b\E`, `\Q(\E`)
	case 3, 4:
		return r.class()
	case 5:
		return r.of("(?i)", "(?s)", "(?-s)", "(?m)", "(?U)", "(?-i)")
	case 6:
		return r.of("é", "界", "😀", "ß", "K", "ſ", "λ")
	default:
		return r.of("a", "a", "b", "b", "c", "A", "1", "_", ":", "-", "k", "s", "]", "}", "{", ",")
	}
}

func (r random) class() string {
	return r.of("[", "[", "[^") + r.of("", "", "]", "-", "^") + r.of("", "a") + r.many(3, func() string {
		return r.of("a", "b-c", "A-Z", "0-9", `\d`, `\w`, `\s`, `\W`, "[:alpha:]", "[:^digit:]", "[:space:]", "[:punct:]", `\pL`, `\PL`,
			`\p{Lu}`, "é", "α-ω", `\n`, `\]`, `\-`, "&&", "~~", "--", "k", "s", ":", "[", ".", "$", `\x61`, `\101`)
	}) + r.of("", "-") + "a]"
}

func (r random) alternation(depth int) string {
	branches := []string{}
	for range 1 + r.IntN(5)/3 {
		branches = append(branches, r.many(4, func() string {
			atom := r.atom(depth)
			if r.chance(40) {
				atom += r.of("*", "+", "?", "*?", "+?", "??", "{2}", "{0}", "{1,}", "{0,2}", "{2,}?", "{1,2}?", "{,2}", "{0,1}")
			}
			return atom
		}))
	}
	return strings.Join(branches, "|")
}

func (r random) pattern() string {
	pattern := r.alternation(3)
	if r.chance(3) {
		pattern = r.alternation(1) + ")|(" + r.alternation(1)
	}
	return pattern
}

// noise is mostly refused.
func (r random) noise() string {
	return r.many(9, func() string {
		return r.of("(", ")", "[", "]", "{", "}", "|", "*", "+", "?", ".", "^", "$", `\`, "-", ",", ":", "=", "!", "<", ">", "P", "Q", "E", "p",
			"d", "w", "x", "b", "B", "A", "z", "Z", "C", "0", "1", "2", "8", "9", "a", "é", "i", "s", "m", "U", "n", "[:", ":]", "(?", "(?P<", "\\p{",
			"L", "Greek", "{2", ",3}", "{1001}", "{1000}", "\\Q", "\\E", "\\x{", "0}", "[^", "(?i)", "(?-", "\\8", "\\18", "1000000000}")
	})
}

var names = []string{"__name__", "a", "b", "c", "ab", "job", "x.y", "é", "A", "__tmp"}
var values = []string{"", "1", "a", "b", "a-b", "a;b", "A", "É", "go_gc", "x:9090", "µ", "ß", "$1", "$$", "a\nb"}

func (r random) templateText() string {
	return r.many(3, func() string {
		return r.of("$1", "$2", "${1}", "${2}x", "$0", "$$", "$", "${", "${1", "$-", "${n}", "$n", "$1x", "$1é", "$01", "${1-2}", "a", "b", "_",
			"", "x.", "é", "${é}", "$99", "$1$2", "job", "-")
	})
}

// rules makes a chain and series for it. Keys are written in the order in which Prometheus declares them.
func (r random) rules() (string, [][]string) {
	chain := []string{}
	for range 1 + r.IntN(4) {
		chain = append(chain, r.rule())
	}
	series := [][]string{}
	for range 3 {
		var pairs []string
		for _, name := range names {
			if value := values[r.IntN(len(values))]; value != "" && r.chance(55) {
				pairs = append(pairs, name, value)
			}
		}
		series = append(series, pairs)
	}
	return "[" + strings.Join(chain, ",") + "]", series
}

func (r random) rule() string {
	action := r.of("replace", "replace", "replace", "lowercase", "uppercase", "keep", "drop", "keepequal", "dropequal", "hashmod", "labelmap",
		"labelmap", "labeldrop", "labelkeep")
	equal, only := strings.HasSuffix(action, "equal"), action == "labeldrop" || action == "labelkeep"
	odd := func(sensible bool, percent int) bool { return r.chance(percent) && (sensible || r.chance(4)) }
	fields := []string{}
	field := func(key string, value any) {
		text, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		fields = append(fields, `"`+key+`":`+string(text))
	}
	if odd(!only && action != "labelmap", 90) {
		sources := []string{}
		for range r.IntN(3) {
			sources = append(sources, names[r.IntN(len(names))])
		}
		field("source_labels", sources)
	}
	if odd(!only && !equal, 20) {
		field("separator", r.of("", "-", ";", "::"))
	}
	if odd(!equal, 65) {
		field("regex", r.of("(.*)", ".*", "a", "(a)", "(.)(.*)", "(?P<n>.+);(.*)", "a|b", "(a|b)-?(.*)", "", "go_.*", "__(.+)__", "[a-c]+", ".+", "(.*)b",
			"(?i)a(.*)", "a)|(b", "(x).(y)", "é", "([^:]+)(?::\\d+)?", "("))
	}
	if odd(action == "hashmod", 95) {
		field("modulus", []int{0, 1, 2, 7, 1000}[min(4, r.IntN(20))])
	}
	if odd(!only && action != "labelmap" && action != "keep" && action != "drop", 96) {
		if action == "replace" && r.chance(25) {
			field("target_label", r.templateText())
		} else {
			field("target_label", names[r.IntN(len(names))])
		}
	}
	if odd(action == "replace" || action == "labelmap", 60) {
		field("replacement", r.templateText())
	}
	if r.chance(4) {
		action = r.of("Replace", "KEEP", "", "hash", "labelMap", "drop ")
	}
	if action != "replace" || r.chance(50) {
		field("action", action)
	}
	return "{" + strings.Join(fields, ",") + "}"
}

// caseTexts holds every rune whose case Go maps, sixteen to a text.
func caseTexts() []string {
	texts := []string{"straße", "İstanbul", "ΣΑΣ", "ǆǅǄ", "ŉ", "ﬁ", "ᾳ", "ა", "Ა"}
	var text strings.Builder
	count := 0
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if unicode.ToLower(c) != c || unicode.ToUpper(c) != c {
			text.WriteRune(c)
			if count++; count%32 == 0 {
				texts = append(texts, text.String())
				text.Reset()
			}
		}
	}
	return append(texts, text.String())
}
