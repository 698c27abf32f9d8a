package password

import (
	"crypto/rand"
	"math"
	"strings"
)

const (
	// maxStates bounds the work of counting.
	maxStates = 1 << 12
	// minOdds is the smallest part of all candidates that may obey the rules.
	minOdds = 1e-4
)

// Entropy is how many bits of chance a password has.
func (p Policy) Entropy() float64 {
	set := p.charset()
	if len(set) == 0 || p.Length <= 0 {
		return 0
	}
	if odds, known := p.odds(set); known {
		if odds == 0 {
			return 0
		}
		return max(0, float64(p.Length)*math.Log2(float64(len(set)))+math.Log2(odds))
	}
	return p.floor(set)
}

// floor counts the passwords that obey because they begin with what each rule
// asks for in the order of the rules: there are others.
func (p Policy) floor(set []rune) float64 {
	bits, free := 0.0, p.Length
	for _, r := range p.Rules {
		if r.Min <= 0 {
			continue
		}
		own := Policy{Rules: []Rule{r}}.charset()
		if len(own) == 0 || free < r.Min {
			return 0
		}
		bits += float64(r.Min) * math.Log2(float64(len(own)))
		free -= r.Min
	}
	return bits + float64(free)*math.Log2(float64(len(set)))
}

// odds is the part of all candidates that obeys the rules. What counts of a
// candidate is how far each rule is satisfied; such a state is a number with one
// digit for each rule. known is false where there are too many states.
func (p Policy) odds(set []rune) (odds float64, known bool) {
	var rules []Rule
	states := 1
	for _, r := range p.Rules {
		if r.Min <= 0 {
			continue
		}
		rules = append(rules, r)
		if states *= r.Min + 1; states > maxStates {
			return 0, false
		}
	}
	classes := map[string]float64{} // by which rules a character is for
	for _, c := range set {
		class := make([]byte, len(rules))
		for i, r := range rules {
			if strings.ContainsRune(r.Charset, c) {
				class[i] = 1
			}
		}
		classes[string(class)] += 1 / float64(len(set))
	}
	now := make([]float64, states)
	now[0] = 1
	for range p.Length {
		next := make([]float64, states)
		for state, chance := range now {
			if chance == 0 {
				continue
			}
			for class, part := range classes {
				next[after(rules, state, class)] += chance * part
			}
		}
		now = next
	}
	return now[states-1], true
}

// after is the state that a character of a class leads to.
func after(rules []Rule, state int, class string) int {
	place := 1
	for i, r := range rules {
		if digit := state / place % (r.Min + 1); class[i] == 1 && digit < r.Min {
			state += place
		}
		place *= r.Min + 1
	}
	return state
}

// checkOdds refuses rules that (nearly) no candidate obeys. Where that cannot be
// counted it is tried.
func (p Policy) checkOdds() error {
	odds, known := p.odds(p.charset())
	if !known {
		_, err := p.Generate(rand.Reader)
		return err
	}
	if odds < minOdds {
		return errImpossible
	}
	return nil
}

// obeys reports whether a candidate satisfies all rules.
func (p Policy) obeys(candidate []rune, sets []map[rune]bool) bool {
	for i, r := range p.Rules {
		found := 0
		for _, c := range candidate {
			if found >= r.Min {
				break
			}
			if sets[i][c] {
				found++
			}
		}
		if found < r.Min {
			return false
		}
	}
	return true
}
