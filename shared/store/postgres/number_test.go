package postgres

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Law: whatever the order in which transactions draw seqs, commit and roll
// back, every event that is committed gets a number once, in a snapshot in which
// it is visible, the numbers are dense, and gaps that nobody can fill are
// forgotten (D3).
func TestNumbering(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		g := game{numbers: map[int64]int64{}}
		t.Repeat(map[string]func(*rapid.T){
			"begin":    func(*rapid.T) { g.begin() },
			"draw":     g.draw,
			"commit":   func(t *rapid.T) { g.end(t, true) },
			"rollback": func(t *rapid.T) { g.end(t, false) },
			"number":   g.number,
			"":         func(t *rapid.T) { g.check(t, false) },
		})
		for len(g.open) > 0 {
			g.end(t, rapid.Bool().Draw(t, "commits"))
		}
		// A gap is found, then dated, then dropped when what ran has ended.
		for range 4 {
			g.numberUpTo(t, 1<<40)
		}
		g.check(t, true)
	})
}

// game is a database with what matters here.
type game struct {
	head     head
	xid, seq int64
	open     []*player
	visible  []int64
	numbers  map[int64]int64 // by seq
}

type player struct {
	xid  int64
	seqs []int64
}

func (g *game) begin() {
	g.xid++
	g.open = append(g.open, &player{xid: g.xid})
}

func (g *game) pick(t *rapid.T) int {
	if len(g.open) == 0 {
		t.Skip("nobody plays")
	}
	return rapid.IntRange(0, len(g.open)-1).Draw(t, "player")
}

func (g *game) draw(t *rapid.T) {
	p := g.open[g.pick(t)]
	for range rapid.IntRange(1, 4).Draw(t, "events") {
		g.seq++
		p.seqs = append(p.seqs, g.seq)
	}
}

func (g *game) end(t *rapid.T, commits bool) {
	i := g.pick(t)
	if commits {
		g.visible = append(g.visible, g.open[i].seqs...)
		slices.Sort(g.visible)
	}
	g.open = slices.Delete(g.open, i, i+1)
}

func (g *game) number(t *rapid.T) { g.numberUpTo(t, int64(rapid.IntRange(0, 5).Draw(t, "limit"))) }

// numberUpTo does what look and number do; others may begin and commit between
// their two snapshots.
func (g *game) numberUpTo(t *rapid.T, limit int64) {
	g.xid++
	own, oldest := g.xid, g.xid
	for _, p := range g.open {
		oldest = min(oldest, p.xid)
	}
	if len(g.open) > 0 && limit < 1<<40 && rapid.Bool().Draw(t, "in between") {
		g.begin()
		g.end(t, true)
	}
	h := &g.head
	h.limit, h.oldest, h.waiting = limit, oldest, nil
	n := int64(0)
	for _, seq := range g.visible {
		inGap := slices.ContainsFunc(h.gaps, func(x gap) bool { return x.from <= seq && seq <= x.to })
		if seq <= h.examined && !inGap || n == limit {
			continue
		}
		if last := len(h.waiting) - 1; last >= 0 && h.waiting[last].seq+h.waiting[last].length == seq {
			h.waiting[last].length++
		} else {
			h.waiting = append(h.waiting, run{seq, 1})
		}
		n++
	}
	number := h.position.Number
	for _, r := range h.waiting {
		for i := range r.length {
			number++
			if was, again := g.numbers[r.seq+i]; again {
				t.Fatalf("event %d has number %d and gets %d", r.seq+i, was, number)
			}
			g.numbers[r.seq+i] = number
		}
	}
	if numbered, _ := h.assign(own); numbered != n || h.position.Number != number {
		t.Fatalf("%d events got numbers up to %d; want %d up to %d", numbered, h.position.Number, n, number)
	}
}

func (g *game) check(t *rapid.T, final bool) {
	if int64(len(g.numbers)) != g.head.position.Number {
		t.Fatalf("the head is %d, %d events have numbers", g.head.position.Number, len(g.numbers))
	}
	if !final {
		return
	}
	for _, seq := range g.visible {
		if g.numbers[seq] == 0 {
			t.Fatalf("event %d has no number: examined %d, gaps %v", seq, g.head.examined, g.head.gaps)
		}
	}
	if len(g.head.gaps) > 0 {
		t.Fatalf("gaps are left: %v", g.head.gaps)
	}
}

// A dump was loaded into a cluster that counts its transactions from lower on:
// its gaps are forgotten all the same.
func TestGapsOfAnotherCluster(t *testing.T) {
	t.Parallel()
	h := head{examined: 9, gaps: []gap{{3, 4, 1_000_000}}, limit: 10, oldest: 50}
	if _, changed := h.assign(60); !changed || len(h.gaps) != 1 || h.gaps[0].xid != 60 {
		t.Errorf("at first: %v", h.gaps)
	}
	h.oldest = 61
	if _, changed := h.assign(61); !changed || len(h.gaps) != 0 {
		t.Errorf("when all have ended that may fill them: %v", h.gaps)
	}
}
