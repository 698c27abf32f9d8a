package storetest

import (
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// drawKnown is what a record elsewhere may say of a lease.
func drawKnown(t *rapid.T, id lease.ID) lease.Lease {
	l := secret(id)
	if id.Path() == "auth/token" {
		l.Kind = lease.Token
	}
	l.State = pick(t, "known", lease.States()...)
	l.Version, l.Plan = int64(rapid.IntRange(1, 6).Draw(t, "known version")), nil
	l.IssuedAt = NewClock().Now()
	if rapid.Bool().Draw(t, "known expiry") {
		l.ExpiresAt = l.IssuedAt.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "known term")) * time.Minute)
	}
	return l
}

func (p *pair) suspend(t *rapid.T) {
	s := store.Suspension{Reason: pick(t, "reason", "a", "b"), Lost: rapid.Bool().Draw(t, "lost")}
	p.agree(t, "Suspend", nil, nil, p.real.Suspend(t.Context(), s), p.fake.Suspend(t.Context(), s))
	p.suspension(t)
}

func (p *pair) resume(t *rapid.T) {
	head, err := p.fake.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	epoch := head.Epoch + int64(rapid.IntRange(0, 2).Draw(t, "epoch"))
	if rapid.Bool().Draw(t, "same epoch") {
		epoch = 0
	}
	after, w := p.position(t), store.Write{}
	if rapid.Bool().Draw(t, "write") {
		w = drawWrite(t)
	}
	p.agree(t, "Resume after "+after.String(), nil, nil, p.real.Resume(t.Context(), epoch, after, w), p.fake.Resume(t.Context(), epoch, after, w))
	p.suspension(t)
	p.numbered(t)
}

func (p *pair) suspension(t *rapid.T) {
	got, suspended1, err1 := p.real.Suspension(t.Context())
	fake, suspended2, err2 := p.fake.Suspension(t.Context())
	p.agree(t, "Suspension", []any{got, suspended1}, []any{fake, suspended2}, err1, err2)
}

// numbered compares the events that have a number, from the beginning and from
// somewhere.
func (p *pair) numbered(t *rapid.T) {
	for _, after := range []event.Position{{}, p.position(t)} {
		got, err1 := p.real.Events(t.Context(), after, 1000)
		fake, err2 := p.fake.Events(t.Context(), after, 1000)
		p.agree(t, "Events after "+after.String(), append([]event.Event{}, got...), append([]event.Event{}, fake...), err1, err2)
		p.changed(t, after)
	}
	got, err1 := p.real.Head(t.Context())
	fake, err2 := p.fake.Head(t.Context())
	p.agree(t, "Head", got, fake, err1, err2)
}
