package expirytest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/lease"
)

// model is the contract in its plainest form.
type model struct {
	x       expiry.Index
	now     time.Time
	due     map[lease.ID]expiry.Member
	flights map[lease.ID]*modelFlight
	claims  []*modelClaim
}

type modelFlight struct {
	member  expiry.Member
	offered time.Time // zero: it was not
}

type modelClaim struct {
	claim expiry.Claim
	until time.Time
	over  bool
}

// Model compares an empty index with a model of the contract, through a random
// sequence of calls on two targets with several claims open at a time. Whatever
// the order: a member is due at the earliest time offered since it was last
// claimed or put back, and scores in due only fall (D1).
func Model(t *rapid.T, x expiry.Index) {
	m := &model{x: x, now: base, due: map[lease.ID]expiry.Member{}, flights: map[lease.ID]*modelFlight{}}
	t.Repeat(map[string]func(*rapid.T){
		"offer":    m.offer,
		"claim":    m.claim,
		"complete": m.complete,
		"extend":   m.extend,
		"time":     m.time,
		"":         m.look,
	})
}

// around draws a time within two holds of now. All times are multiples of a
// quarter of a hold: a clock of the index's own has that long to spare.
func (m *model) around(t *rapid.T) time.Time {
	return m.now.Add(time.Duration(rapid.IntRange(-6, 8).Draw(t, "at")) * hold / 4)
}

func (m *model) offer(t *rapid.T) {
	var all []expiry.Member
	for range rapid.IntRange(1, 4).Draw(t, "members") {
		target := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "target")
		all = append(all, expiry.Member{
			ID:     lease.ID(fmt.Sprint(target, rapid.IntRange(0, 3).Draw(t, "id"))), // of one target only
			Target: target, At: m.around(t),
		})
	}
	offer(t, m.x, all...)
	for _, o := range all {
		if f := m.flights[o.ID]; f != nil {
			if o.At.After(f.member.At) && (f.offered.IsZero() || o.At.Before(f.offered)) {
				f.offered = o.At
			}
			continue
		}
		m.insert(o)
	}
}

func (m *model) insert(o expiry.Member) {
	if old, ok := m.due[o.ID]; !ok || o.At.Before(old.At) {
		m.due[o.ID] = o
	}
}

func (m *model) sorted(target string) []expiry.Member {
	var out []expiry.Member
	for _, d := range m.due {
		if d.Target == target {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b expiry.Member) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return out
}

func (m *model) claim(t *rapid.T) {
	target, limit := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "target"), rapid.IntRange(1, 4).Draw(t, "limit")
	c, err := m.x.Claim(t.Context(), target, m.now, limit, hold)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	var want []expiry.Member
	for _, d := range m.sorted(target) {
		if !d.At.After(m.now) && len(want) < limit {
			want = append(want, d)
		}
	}
	wantMembers(t, c, want...)
	for _, d := range want {
		delete(m.due, d.ID)
		m.flights[d.ID] = &modelFlight{member: d}
	}
	if len(want) > 0 {
		m.claims = append(m.claims, &modelClaim{claim: c, until: m.now.Add(hold)})
	}
}

func (m *model) pick(t *rapid.T) *modelClaim {
	if len(m.claims) == 0 {
		t.Skip("no claim was made")
	}
	return rapid.SampledFrom(m.claims).Draw(t, "claim")
}

func (m *model) complete(t *rapid.T) {
	c := m.pick(t)
	var later []expiry.Member
	for _, d := range c.claim.Members {
		if rapid.Bool().Draw(t, "back") {
			d.At = m.around(t)
			later = append(later, d)
		}
	}
	err := m.x.Complete(t.Context(), c.claim, later...)
	if errors.Is(err, expiry.ErrLapsed) != c.over || err != nil && !c.over {
		t.Fatalf("complete: %v; lapsed: %v", err, c.over)
	}
	if c.over {
		return
	}
	c.over = true
	for _, d := range c.claim.Members {
		at := m.flights[d.ID].offered
		delete(m.flights, d.ID)
		if i := slices.IndexFunc(later, func(l expiry.Member) bool { return l.ID == d.ID }); i >= 0 {
			if at.IsZero() || later[i].At.Before(at) {
				at = later[i].At
			}
		}
		if !at.IsZero() {
			d.At = at
			m.insert(d)
		}
	}
}

func (m *model) extend(t *rapid.T) {
	c := m.pick(t)
	err := m.x.Extend(t.Context(), c.claim, m.now, hold)
	if errors.Is(err, expiry.ErrLapsed) != c.over || err != nil && !c.over {
		t.Fatalf("extend: %v; lapsed: %v", err, c.over)
	}
	c.until = m.now.Add(hold)
}

// time goes by, and claims that ran out lapse.
func (m *model) time(t *rapid.T) {
	d := time.Duration(rapid.IntRange(0, 3).Draw(t, "halves")) * hold / 2
	pass(t, m.x, d)
	m.now = m.now.Add(d)
	n := 0
	for _, c := range m.claims {
		if c.over || c.until.After(m.now) {
			continue
		}
		c.over = true
		for _, d := range c.claim.Members {
			n++
			m.insert(m.flights[d.ID].member)
			delete(m.flights, d.ID)
		}
	}
	lapse(t, m.x, m.now, n)
}

func (m *model) look(t *rapid.T) {
	wantLen(t, m.x, len(m.due)+len(m.flights))
	m.missing(t)
	until := m.around(t)
	got, err := m.x.Upcoming(t.Context(), until)
	if err != nil {
		t.Fatalf("upcoming: %v", err)
	}
	slices.SortFunc(got, func(a, b expiry.Upcoming) int { return cmp.Compare(a.Target, b.Target) })
	var want []expiry.Upcoming
	for _, target := range []string{"a", "b"} {
		if d := m.sorted(target); len(d) > 0 && !d[0].At.After(until) {
			want = append(want, expiry.Upcoming{Target: target, At: d[0].At})
		}
	}
	if !slices.EqualFunc(got, want, func(a, b expiry.Upcoming) bool { return a.Target == b.Target && a.At.Equal(b.At) }) {
		t.Fatalf("upcoming is %v, want %v", got, want)
	}
}

func (m *model) missing(t *rapid.T) {
	asked := expiry.Member{Target: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "asked target"), At: m.around(t)}
	asked.ID = lease.ID(fmt.Sprint(asked.Target, rapid.IntRange(0, 3).Draw(t, "asked")))
	d, due := m.due[asked.ID]
	if m.flights[asked.ID] != nil || due && !d.At.After(asked.At) {
		wantMissing(t, m.x, []expiry.Member{asked})
		return
	}
	wantMissing(t, m.x, []expiry.Member{asked}, asked)
}
