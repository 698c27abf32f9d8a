package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// RunModel plays random calls against a store and a [Fake] side by side: they
// must answer alike, errors included. open makes an empty store that goes by c.
func RunModel(t *testing.T, open func(t *testing.T, c clock.Clock) store.Store) {
	t.Helper()
	rapid.Check(t, func(rt *rapid.T) {
		c := NewClock()
		p := &pair{T: rt, clock: c, real: open(t, c), fake: NewFake(c)}
		defer func() { _ = p.real.Close() }() // of no interest here
		rt.Repeat(map[string]func(*rapid.T){
			"apply": p.apply, "write": p.write, "raise": p.raise, "append": p.append, "number": p.number,
			"confirm": p.confirm, "trim": p.trim, "prune": p.prune, "lock": p.lock, "clock": p.advance,
			"find": p.find, "due": p.due, "children": p.children, "list": p.list,
			"suspend": p.suspend, "resume": p.resume, "resume ": p.resume, "": p.sometimes,
		})
		p.whole(rt)
	})
}

// pair is the store under test and its model.
type pair struct {
	*rapid.T
	clock *Clock
	real  store.Store
	fake  *Fake
	keys  int
	calls int
	held  store.Lock
}

// sentinels are the errors that a caller can tell apart.
func sentinels() []error {
	return []error{
		store.ErrNotFound, store.ErrWithdrawn, store.ErrQuota, store.ErrRevision, store.ErrExists, store.ErrUnknown, store.ErrLost, store.ErrAhead,
		store.ErrNoOwner, store.ErrSuspended, store.ErrEpoch, store.ErrNotSuspended, lease.ErrVersion, lease.ErrMove, lease.ErrNotDue, lease.ErrNotRenewable, lease.ErrOver,
	}
}

func kindOf(err error) string {
	if err == nil {
		return "done"
	}
	for _, s := range sentinels() {
		if errors.Is(err, s) {
			return s.Error()
		}
	}
	return "another error"
}

// agree compares two answers.
func (p *pair) agree(t *rapid.T, act string, got, want any, gotErr, wantErr error) {
	t.Helper()
	if kindOf(gotErr) != kindOf(wantErr) {
		t.Fatalf("%s: %v; the model says %v", act, gotErr, wantErr)
	}
	if gotErr == nil && !same(got, want) {
		t.Fatalf("%s:\n  %s\nthe model says\n  %s", act, text(got), text(want))
	}
}

func pick[V any](t *rapid.T, label string, of ...V) V { return rapid.SampledFrom(of).Draw(t, label) }

func drawID(t *rapid.T) lease.ID {
	return pick[lease.ID](t, "id", "db/creds/a/1", "db/creds/a/2", "db/creds/a-b/1", "db/creds/b/1", "aws/sts/1", "auth/token/1", "auth/token/2")
}

func drawRef(t *rapid.T) store.Ref {
	return store.Ref{Kind: pick(t, "kind", store.KindMount, store.KindRole), ID: pick(t, "ref", "e1", "e2", "e3")}
}

func drawTime(t *rapid.T, now time.Time) time.Time {
	return now.Add(time.Duration(rapid.IntRange(-90, 90).Draw(t, "minutes")) * time.Minute)
}

func drawAction(t *rapid.T, id lease.ID) lease.Action {
	minutes := func(label string) time.Duration {
		return time.Duration(rapid.IntRange(0, 60).Draw(t, label)) * time.Minute
	}
	switch rapid.IntRange(0, 14).Draw(t, "action") {
	case 0, 1, 2:
		l := secret(id)
		l.Target, l.Account = pick(t, "target", "t1", "t2", ""), pick(t, "account", "a1", "a2")
		l.TokenID, l.TTL, l.Renewable = pick[lease.ID](t, "token", "auth/token/1", "", "auth/token/2"), minutes("ttl"), pick(t, "renewable", true, false)
		if id.Path() == "auth/token" {
			l.Kind, l.Uses = lease.Token, rapid.IntRange(0, 3).Draw(t, "uses")
			l.Wraps = rapid.Bool().Draw(t, "wraps")
		}
		return lease.Begin{Lease: l, Grace: minutes("grace")}
	case 3, 4:
		return lease.Activate{Handle: []byte("oid")}
	case 5:
		return lease.Renew{Increment: minutes("increment")}
	case 6:
		return lease.Revoke{If: pick(t, "condition", lease.Always, lease.IfDue), KeepTokens: rapid.Bool().Draw(t, "keep")}
	case 7:
		return lease.Progress{Failed: pick(t, "failed", true, false), Error: "e", After: minutes("after")}
	case 8:
		return lease.Retry{}
	case 9, 10:
		return lease.Restore{Known: drawKnown(t, id)}
	case 11:
		return lease.Use{}
	case 12:
		return lease.Open{Plan: []byte("opened")}
	case 13:
		return lease.Rewrap{Plan: []byte("rewrapped")}
	}
	return lease.Finish{To: pick(t, "to", lease.Revoked, lease.Expired, lease.Abandoned)}
}

func (p *pair) apply(t *rapid.T) {
	var items []store.Transition
	for range rapid.IntRange(1, 4).Draw(t, "items") {
		id := drawID(t)
		p.keys++
		item := store.Transition{Change: lease.Change{
			ID: id, Version: int64(rapid.IntRange(-1, 4).Draw(t, "version")), Key: strconv.Itoa(p.keys), By: someone(),
			Reason: pick(t, "reason", "", "r"), Do: drawAction(t, id),
		}}
		if rapid.Bool().Draw(t, "guarded") {
			item.Guard = store.Guard{Barriers: rapid.Bool().Draw(t, "barriers"), Token: pick[lease.ID](t, "guard", "", "auth/token/1")}
			if rapid.Bool().Draw(t, "entry") {
				item.Guard.Entries = []store.Ref{drawRef(t)}
			}
		}
		if rapid.Bool().Draw(t, "also") {
			item.Also = []event.Event{{Type: event.RequestServed, Subject: item.Change.Key}}
		}
		items = append(items, item)
	}
	got, fake := p.real.Apply(t.Context(), items...), p.fake.Apply(t.Context(), items...)
	for i := range items {
		act := fmt.Sprintf("%T of %s", items[i].Change.Do, items[i].Change.ID)
		if got[i].Withdrawn != fake[i].Withdrawn || !same(got[i].Lease, fake[i].Lease) {
			t.Fatalf("%s:\n  %s %q\nthe model says\n  %s %q", act, text(got[i].Lease), got[i].Withdrawn, text(fake[i].Lease), fake[i].Withdrawn)
		}
		p.agree(t, act, nil, nil, got[i].Err, fake[i].Err)
	}
}

func drawWrite(t *rapid.T) (w store.Write) {
	for range rapid.IntRange(0, 2).Draw(t, "puts") {
		ref := drawRef(t)
		w.Puts = append(w.Puts, store.Entry{
			Kind: ref.Kind, ID: ref.ID, Key: pick(t, "key", "k/1", "k/2", "k1"), Value: []byte(pick(t, "value", "1", "", "2")),
			Revision: int64(rapid.IntRange(0, 3).Draw(t, "revision")),
		})
	}
	for range rapid.IntRange(0, 2).Draw(t, "withdrawals") {
		w.Withdrawals = append(w.Withdrawals, drawRef(t))
	}
	for range rapid.IntRange(0, 1).Draw(t, "deletes") {
		w.Deletes = append(w.Deletes, drawRef(t))
	}
	if rapid.IntRange(0, 3).Draw(t, "quota") == 0 {
		name := pick(t, "name", "q1", "q2")
		w.Deletes = append(w.Deletes, store.Ref{Kind: store.KindLeaseQuota, ID: name})
		w.Puts = append(w.Puts, store.Entry{
			Kind: store.KindLeaseQuota, ID: name, Key: store.QuotaKey(pick(t, "path", "", "db/", "db/creds/a/")),
			Value: fmt.Appendf(nil, `{"max_leases":%d}`, rapid.IntRange(0, 3).Draw(t, "most")),
		})
	}
	if rapid.Bool().Draw(t, "event") {
		w.Events = []event.Event{{Type: event.ConfigChanged}}
	}
	return w
}

func (p *pair) write(t *rapid.T) {
	w := drawWrite(t)
	got, realErr := p.real.Write(t.Context(), w)
	fake, fakeErr := p.fake.Write(t.Context(), w)
	p.agree(t, "Write "+text(w), got, fake, realErr, fakeErr)
}

func (p *pair) raise(t *rapid.T) {
	b := store.Barrier{Operation: pick(t, "operation", "o1", "o2", "o3"), Prefix: pick(t, "prefix", "db/", "db/creds/a/", "aws/"), By: someone()}
	got, realErr := p.real.Raise(t.Context(), b)
	fake, fakeErr := p.fake.Raise(t.Context(), b)
	p.agree(t, "Raise", got, fake, realErr, fakeErr)
}

func (p *pair) append(t *rapid.T) {
	e := event.Event{Type: event.RequestDenied, Data: event.Data{Count: rapid.IntRange(1, 9).Draw(t, "count")}}
	p.agree(t, "Append", nil, nil, p.real.Append(t.Context(), e, e), p.fake.Append(t.Context(), e, e))
}

func (p *pair) number(t *rapid.T) {
	limit := rapid.IntRange(0, 9).Draw(t, "limit")
	head1, n1, err1 := p.real.Number(t.Context(), p.held, limit)
	head2, n2, err2 := p.fake.Number(t.Context(), p.held, limit)
	p.agree(t, "Number", []any{head1, n1}, []any{head2, n2}, err1, err2)
}

func (p *pair) position(t *rapid.T) event.Position {
	head, err := p.fake.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	epoch := head.Epoch - int64(pick(t, "epochs ago", 0, 0, 0, 1, 2, -1)) // also ones that were left out, or are to come
	return event.Position{Epoch: max(0, epoch), Number: int64(rapid.IntRange(0, 30).Draw(t, "position"))}
}

func (p *pair) confirm(t *rapid.T) {
	upTo, consumer := p.position(t), pick(t, "consumer", store.Ledger, "other")
	p.agree(t, "Confirm", nil, nil, p.real.Confirm(t.Context(), consumer, upTo), p.fake.Confirm(t.Context(), consumer, upTo))
	got, err1 := p.real.Confirmed(t.Context(), consumer)
	fake, err2 := p.fake.Confirmed(t.Context(), consumer)
	p.agree(t, "Confirmed", got, fake, err1, err2)
}

func (p *pair) trim(t *rapid.T) {
	upTo, limit := p.position(t), rapid.IntRange(0, 5).Draw(t, "limit")
	got, err1 := p.real.Trim(t.Context(), upTo, limit)
	fake, err2 := p.fake.Trim(t.Context(), upTo, limit)
	p.agree(t, "Trim", got, fake, err1, err2)
}

func (p *pair) prune(t *rapid.T) {
	before, limit := drawTime(t, p.clock.Now()), rapid.IntRange(0, 3).Draw(t, "limit")
	got, err1 := p.real.Prune(t.Context(), before, limit)
	fake, err2 := p.fake.Prune(t.Context(), before, limit)
	p.agree(t, "Prune", got, fake, err1, err2)
}

func (p *pair) lock(t *rapid.T) {
	owner := pick(t, "owner", "x", "y")
	if rapid.Bool().Draw(t, "release") {
		p.agree(t, "Release", nil, nil, p.real.Release(t.Context(), p.held), p.fake.Release(t.Context(), p.held))
		return
	}
	got, ok1, err1 := p.real.Acquire(t.Context(), "publisher", owner, time.Minute)
	fake, ok2, err2 := p.fake.Acquire(t.Context(), "publisher", owner, time.Minute)
	p.agree(t, "Acquire", []any{got, ok1}, []any{fake, ok2}, err1, err2)
	if ok1 {
		p.held = got
	}
}

func (p *pair) advance(t *rapid.T) {
	p.clock.Advance(time.Duration(rapid.IntRange(0, 40).Draw(t, "minutes")) * time.Minute)
	got, err1 := p.real.Now(t.Context())
	fake, err2 := p.fake.Now(t.Context())
	p.agree(t, "Now", got, fake, err1, err2)
}

func (p *pair) find(t *rapid.T) {
	q := store.Query{
		Prefix: pick(t, "prefix", "", "db/", "db/creds/a", "db/creds/a/"), Token: pick[lease.ID](t, "token", "", "auth/token/1"),
		Account: pick(t, "account", "", "a1"), MountID: pick(t, "mount", "", "mount-1"), Target: pick(t, "target", "", "t1", "t2"),
		Kind:   pick(t, "kind", "", lease.Secret, lease.Token),
		States: rapid.SliceOfN(rapid.SampledFrom(lease.States()), 0, 3).Draw(t, "states"),
		Before: int64(rapid.IntRange(0, 9).Draw(t, "before")), After: pick[lease.ID](t, "after", "", "db/creds/a/1"),
		Limit: rapid.IntRange(0, 4).Draw(t, "limit"),
	}
	got, err1 := p.real.Find(t.Context(), q)
	fake, err2 := p.fake.Find(t.Context(), q)
	p.agree(t, "Find "+text(q), ids(got), ids(fake), err1, err2)
	n1, err1 := p.real.Count(t.Context(), q)
	n2, err2 := p.fake.Count(t.Context(), q)
	p.agree(t, "Count "+text(q), n1, n2, err1, err2)
}

func (p *pair) due(t *rapid.T) {
	after := store.Cursor{}
	if rapid.Bool().Draw(t, "later") {
		after = store.Cursor{At: drawTime(t, p.clock.Now()), ID: drawID(t)}
	}
	until, limit := drawTime(t, p.clock.Now()), rapid.IntRange(1, 5).Draw(t, "limit")
	got, err1 := p.real.Due(t.Context(), until, after, limit)
	fake, err2 := p.fake.Due(t.Context(), until, after, limit)
	p.agree(t, "Due", append([]store.Due{}, got...), append([]store.Due{}, fake...), err1, err2)
}

func (p *pair) children(t *rapid.T) {
	prefix, after := pick(t, "prefix", "", "db/", "db/creds/", "db/creds/a/"), pick(t, "after", "", "a/", "a-b/", "1", "creds/")
	limit := rapid.IntRange(0, 3).Draw(t, "limit")
	got, err1 := p.real.Children(t.Context(), prefix, after, limit)
	fake, err2 := p.fake.Children(t.Context(), prefix, after, limit)
	p.agree(t, "Children", append([]string{}, got...), append([]string{}, fake...), err1, err2)
}

func (p *pair) list(t *rapid.T) {
	kind, prefix, after := drawRef(t).Kind, pick(t, "prefix", "", "k/", "k"), pick(t, "after", "", "k/1")
	withdrawn, limit := rapid.Bool().Draw(t, "withdrawn"), rapid.IntRange(0, 2).Draw(t, "limit")
	got, err1 := p.real.List(t.Context(), kind, prefix, after, withdrawn, limit)
	fake, err2 := p.fake.List(t.Context(), kind, prefix, after, withdrawn, limit)
	p.agree(t, "List", append([]store.Entry{}, got...), append([]store.Entry{}, fake...), err1, err2)
}

// sometimes is whole after every eighth call: it costs more than all others.
func (p *pair) sometimes(t *rapid.T) {
	if p.calls++; p.calls%8 == 0 {
		p.whole(t)
	}
}

// whole compares everything there is.
func (p *pair) whole(t *rapid.T) {
	for _, l := range p.fake.Leases() {
		got, err := p.real.Get(t.Context(), l.ID)
		p.agree(t, "Get", got, l, err, nil)
	}
	for _, path := range []string{"", "db/", "db/creds/", "db/creds/a/", "auth/", "aws/sts/"} {
		n1, err1 := p.real.Living(t.Context(), path)
		n2, err2 := p.fake.Living(t.Context(), path)
		p.agree(t, "Living "+path, n1, n2, err1, err2)
	}
	p.numbered(t)
	n1, err1 := p.real.Backlog(t.Context())
	n2, err2 := p.fake.Backlog(t.Context())
	p.agree(t, "Backlog", n1, n2, err1, err2)
}
