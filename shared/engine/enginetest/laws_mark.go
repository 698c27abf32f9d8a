package enginetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

// racers is how many replace one mark at once.
const racers = 8

// marked is the marker of a harness with its target's id, seen from both sides.
type marked struct {
	engine.Marker
	eyes   Marked
	target string
}

func marker(tb testing.TB, h Harness) *marked {
	tb.Helper()
	m, ok := h.Engine.(engine.Marker)
	if !ok {
		tb.Skip("the engine has no marker")
	}
	eyes, ok := h.Target.(Marked)
	if !ok {
		tb.Fatalf("the harness of a marker sees no mark: its target is no Marked")
	}
	return &marked{m, eyes, plan(tb, h, h.Path).lease.Target}
}

// want checks what the target says and what the engine says of it.
func (m *marked) want(tb testing.TB, when, mark string) {
	tb.Helper()
	got, err := m.Mark(tb.Context(), m.target)
	if err != nil {
		tb.Fatalf("%s: read the mark: %s", when, describe(err))
	}
	seen, err := m.eyes.Mark(tb.Context())
	if err != nil {
		tb.Fatalf("%s: look for the mark: %v", when, err)
	}
	if got != mark || seen != mark {
		tb.Errorf("%s: the engine reads %.40q, the target has %.40q, want %.40q", when, got, seen, mark)
	}
}

// set replaces the mark; nobody else is at work.
func (m *marked) set(tb testing.TB, was, now string) {
	tb.Helper()
	if err := m.SetMark(tb.Context(), m.target, was, now); err != nil {
		tb.Fatalf("set mark %.40q after %.40q: %s", now, was, describe(err))
	}
	m.want(tb, "once it was set", now)
}

func markIsKept(tb testing.TB, h Harness) {
	tb.Helper()
	m := marker(tb, h)
	m.want(tb, "at first", "")
	i := issue(tb, h)
	m.want(tb, "after a creation", "")
	m.set(tb, "", "first")
	m.set(tb, "first", "second")
	m.set(tb, "second", "second")
	j := issue(tb, h)
	leases := revoke(tb, h, i, j)
	disable(tb, h, leases)
	remove(tb, h, leases)
	sweepOver(tb, h, m.target)
	m.want(tb, "after other work", "second")
}

// sweepOver is a round of the sweep: the mark is no account and no ghost.
func sweepOver(tb testing.TB, h Harness, target string) {
	tb.Helper()
	s := sweeper(tb, h)
	for _, a := range pages(tb, s, target, 2) {
		tb.Errorf("%s is listed as an account, and all were removed", a.Name)
	}
	if _, err := s.EndGhosts(tb.Context(), target); err != nil {
		tb.Fatalf("end ghosts: %s", describe(err))
	}
}

func markIsCompared(tb testing.TB, h Harness) {
	tb.Helper()
	m := marker(tb, h)
	refused := func(was string) {
		tb.Helper()
		wantKind(tb, m.SetMark(tb.Context(), m.target, was, "mine"), nil, engine.Conflict)
	}
	refused("theirs")
	m.want(tb, "where there was none", "")
	m.set(tb, "", "theirs")
	for _, was := range []string{"", "mine", "their", "theirs ", "THEIRS", "'theirs'", "th%", "\xff"} {
		refused(was)
		m.want(tb, fmt.Sprintf("after %q was expected", was), "theirs")
	}
}

func markRace(tb testing.TB, h Harness) {
	tb.Helper()
	m := marker(tb, h)
	was := ""
	for range 3 {
		won, lost := m.race(tb, was)
		if len(won) != 1 || lost != racers-1 {
			tb.Fatalf("of %d that replace %q, %d succeeded and %d found another", racers, was, len(won), lost)
		}
		was = won[0]
		m.want(tb, "after a race", was)
	}
}

// race lets all replace the same mark at once, each by its own. Busy is no
// answer: it is asked again.
func (m *marked) race(tb testing.TB, was string) (won []string, lost int) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), hang)
	defer cancel()
	marks, errs := make([]string, racers), make([]error, racers)
	start := make(chan struct{})
	var all sync.WaitGroup
	for n := range racers {
		marks[n] = lease.RandomBase62(20)
		all.Go(func() {
			<-start
			for again := true; again; {
				errs[n] = m.SetMark(ctx, m.target, was, marks[n])
				again = kindOf(errs[n]) == engine.Busy && ctx.Err() == nil
			}
		})
	}
	close(start)
	all.Wait()
	for n, err := range errs {
		switch {
		case err == nil:
			won = append(won, marks[n])
		case kindOf(err) == engine.Conflict:
			lost++
		default:
			tb.Errorf("racer %d: %s", n, describe(err))
		}
	}
	return won, lost
}

// kindOf is the kind of an engine's error, "" of none.
func kindOf(err error) engine.Kind {
	if e, ok := errors.AsType[*engine.Error](err); ok {
		return e.Kind
	}
	if err != nil {
		return engine.Internal
	}
	return ""
}

func markText(tb testing.TB, h Harness) {
	tb.Helper()
	m := marker(tb, h)
	odd := `'; DROP ROLE "x" -- $1 $$ \ \n %s {{name}}`
	m.set(tb, "", odd)
	long := strings.Repeat("~ ", engine.MaxMark/2)
	m.set(tb, odd, long)
	for what, text := range map[string]string{
		"nothing": "", "one byte too many": long + "x", "a new line": "a\nb", "a NUL": "a\x00b", "an umlaut": "\u00e4",
	} {
		if err := m.SetMark(tb.Context(), m.target, long, text); err == nil {
			tb.Errorf("%s was taken for a mark", what)
		} else {
			wantKind(tb, err, nil, engine.Invalid)
		}
		m.want(tb, "after "+what+" was refused", long)
	}
}

// markNowhere is the part of unknownTarget for a marker.
func markNowhere(tb testing.TB, h Harness, nowhere string) {
	tb.Helper()
	m, ok := h.Engine.(engine.Marker)
	if !ok {
		return
	}
	_, err := m.Mark(tb.Context(), nowhere)
	wantKind(tb, err, nil, engine.NotFound)
	wantKind(tb, m.SetMark(tb.Context(), nowhere, "", "mark"), nil, engine.NotFound)
}
