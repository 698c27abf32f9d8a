package password_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"math"
	mrand "math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/password"
)

const (
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits = "0123456789"
)

// typical is the policy of the stock documentation.
func typical(length int) password.Policy {
	return password.Policy{Length: length, Rules: []password.Rule{{lower, 1}, {upper, 1}, {digits, 1}, {"!@#$%^&*", 1}}}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]password.Policy{
		"length must be > 0": {Rules: []password.Rule{{lower, 0}}},
		"specified rules require at least 6 characters but 5 is specified": {Length: 5, Rules: []password.Rule{{lower, 3}, {digits, 3}}},
		"no charset specified":                           {Length: 20},
		"non-printable character in charset":             {Length: 20, Rules: []password.Rule{{"ab\x07", 0}}},
		"passwords must be between 4 and 100 characters": {Length: 3, Rules: []password.Rule{{lower, 0}}},
		"charset is too long: limited to 256 characters": {Length: 20, Rules: []password.Rule{{manyRunes(300), 0}}},
		"are the rules impossible?":                      {Length: 20, Rules: []password.Rule{{"", 1}, {lower, 1}}},
		"more than 64 rules":                             {Length: 100, Rules: make([]password.Rule, 65)},
	} {
		if want == "more than 64 rules" {
			p.Rules[0].Charset = lower
		}
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", p, err, want)
		}
	}
	long := password.Policy{Length: 101, Rules: []password.Rule{{lower, 0}}}
	if err := long.Check(); err == nil {
		t.Error("101 characters are accepted")
	}
	rare := password.Policy{Length: 20, Rules: []password.Rule{{manyRunes(200), 0}, {"X", 19}}}
	if err := rare.Check(); err == nil || !strings.Contains(err.Error(), "impossible") {
		t.Errorf("a policy that hardly any candidate obeys: %v", err)
	}
	for _, p := range []password.Policy{
		typical(20), typical(4),
		{Length: 100, Rules: []password.Rule{{"ab", 50}, {"cd", 40}}},
		{Length: 20, Rules: []password.Rule{{"äöüß€", 2}}},
		{Length: 4, Rules: []password.Rule{{"a", 4}}},
		{Length: 8, Rules: []password.Rule{{lower, -3}}},
	} {
		if err := p.Check(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	// More combinations of rules than are counted: it is tried.
	many := password.Policy{Length: 60}
	for i := range 13 {
		many.Rules = append(many.Rules, password.Rule{Charset: lower[2*i : 2*i+2], Min: 1})
	}
	if err := many.Check(); err != nil {
		t.Errorf("many rules: %v", err)
	}
}

func manyRunes(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteRune(rune(0x4e00 + i))
	}
	return b.String()
}

func small(t *rapid.T) password.Policy {
	p := password.Policy{Length: rapid.IntRange(1, 5).Draw(t, "length")}
	for range rapid.IntRange(1, 3).Draw(t, "rules") {
		p.Rules = append(p.Rules, password.Rule{
			Charset: rapid.StringMatching(`[abcdé]{0,5}`).Draw(t, "charset"), Min: rapid.IntRange(-1, 3).Draw(t, "min"),
		})
	}
	return p
}

// each calls do for every password of a policy: the slow reference.
func each(p password.Policy, do func(string)) {
	set := map[rune]bool{}
	for _, r := range p.Rules {
		for _, c := range r.Charset {
			set[c] = true
		}
	}
	var extend func(string, int)
	extend = func(s string, left int) {
		if left > 0 {
			for c := range set {
				extend(s+string(c), left-1)
			}
			return
		}
		for _, r := range p.Rules {
			n := 0
			for _, c := range s {
				if strings.ContainsRune(r.Charset, c) {
					n++
				}
			}
			if n < r.Min {
				return
			}
		}
		do(s)
	}
	if len(set) > 0 {
		extend("", p.Length)
	}
}

// Entropy is the logarithm of the number of passwords that obey, counted one by
// one.
func TestEntropy(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := small(t)
		n := 0
		each(p, func(string) { n++ })
		want := 0.0
		if n > 0 {
			want = math.Log2(float64(n))
		}
		if got := p.Entropy(); math.Abs(got-want) > 1e-6 {
			t.Fatalf("%+v: %f bits, %d passwords are %f", p, got, n, want)
		}
	})
	if got := typical(20).Entropy(); got < 120 || got > 20*math.Log2(70) {
		t.Errorf("the documentation's policy has %f bits", got)
	}
	// Where the states are too many, less than the truth and not much.
	many := password.Policy{Length: 60}
	for i := range 13 {
		many.Rules = append(many.Rules, password.Rule{Charset: lower[2*i : 2*i+2], Min: 1})
	}
	if got, all := many.Entropy(), 60*math.Log2(26); got > all || got < all-13*math.Log2(13)-1 {
		t.Errorf("%f bits of at most %f", got, all)
	}
}

func TestGeneratedObeys(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := small(t)
		all := map[string]bool{}
		each(p, func(s string) { all[s] = true })
		if len(all) == 0 || p.Entropy() < 1 {
			return
		}
		got, err := p.Generate(rand.Reader)
		if err != nil || !all[got] {
			t.Fatalf("%+v: %q, %v", p, got, err)
		}
	})
	p := typical(100)
	got, err := p.Generate(rand.Reader)
	if err != nil || utf8.RuneCountInString(got) != 100 {
		t.Fatalf("%q, %v", got, err)
	}
}

// Every password is equally likely, also where the number of characters does not
// divide 256: chi-squared over all passwords of a policy, with a fixed seed.
func TestGeneratedAreUniform(t *testing.T) {
	t.Parallel()
	var seed [32]byte
	copy(seed[:], "uniform")
	source := mrand.NewChaCha8(seed)
	for _, p := range []password.Policy{
		{Length: 1, Rules: []password.Rule{{lower + upper + digits + "-", 0}}}, // 63
		{Length: 1, Rules: []password.Rule{{manyRunes(200), 0}}},               // the remainder of 256 would give 56 of them twice the chance
		{Length: 3, Rules: []password.Rule{{"abc", 1}, {"cde", 2}}},
	} {
		counts := map[string]float64{}
		each(p, func(s string) { counts[s] = 0 })
		const perPassword = 400
		n := perPassword * len(counts)
		for range n {
			s, err := p.Generate(source)
			if err != nil {
				t.Fatal(err)
			}
			counts[s]++
		}
		chi := 0.0
		for _, c := range counts {
			chi += (c - perPassword) * (c - perPassword) / perPassword
		}
		// Six standard deviations above what it is on average.
		freedom := float64(len(counts) - 1)
		if limit := freedom + 6*math.Sqrt(2*freedom); chi > limit {
			t.Errorf("%d passwords: chi-squared is %.0f, at most %.0f is likely", len(counts), chi, limit)
		}
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

type stuck byte

func (s stuck) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s)
	}
	return len(b), nil
}

func TestBadSources(t *testing.T) {
	t.Parallel()
	p := typical(4)
	if got, err := p.Generate(broken{}); err == nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := p.Generate(bytes.NewReader(make([]byte, 10))); err == nil || got != "" {
		t.Errorf("%q, %v", got, err)
	}
	for _, s := range []stuck{0, 255} {
		if got, err := p.Generate(s); err == nil || got != "" {
			t.Errorf("%q, %v from a source that is stuck", got, err)
		}
	}
}

func TestPolicyIsKept(t *testing.T) {
	t.Parallel()
	p := typical(20)
	p.Text = "length = 20"
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := password.Decode(b)
	if err != nil || got.Text != p.Text || got.Length != 20 || len(got.Rules) != 4 || got.Rules[2] != p.Rules[2] {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := password.Decode([]byte("x")); err == nil {
		t.Error("nonsense is decoded")
	}
	if !p.ASCII() || (password.Policy{Rules: []password.Rule{{"é", 0}}}).ASCII() {
		t.Error("ASCII is told wrong")
	}
}

func BenchmarkGenerate(b *testing.B) {
	p := typical(24)
	for b.Loop() {
		if _, err := p.Generate(rand.Reader); err != nil {
			b.Fatal(err)
		}
	}
}
