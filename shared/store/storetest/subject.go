package storetest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// subject is the store under test, with the acts that laws are written in.
type subject struct {
	store.Store
	clock *Clock
	keys  atomic.Int64
}

const (
	grace = time.Minute
	term  = time.Hour
)

func (s *subject) key() string { return "key-" + strconv.FormatInt(s.keys.Add(1), 10) }

// someone is an actor with every field set.
func someone() lease.Actor {
	return lease.Actor{Name: "accessor", DisplayName: "token-app", Address: "192.0.2.7", RequestID: "request-1"}
}

// change makes a transition by someone.
func (s *subject) change(id lease.ID, version int64, do lease.Action) store.Transition {
	return store.Transition{Change: lease.Change{ID: id, Version: version, Key: s.key(), By: someone(), Reason: "a test", Do: do}}
}

// secret is an ordinary lease of an account.
func secret(id lease.ID) lease.Lease {
	return lease.Lease{
		Kind: lease.Secret, MountID: "mount-1", Mount: "database/", Role: "readonly", Engine: "database",
		Target: "target-1", TokenID: "auth/token/create/parent", Account: "v-" + string(id),
		Plan: []byte(`{"plan":1}`), TTL: term, MaxTTL: 2 * term, CappedBy: lease.MountLimit, Renewable: true,
	}
}

// one applies a single transition.
func (s *subject) one(t T, item store.Transition) store.Outcome {
	t.Helper()
	out := s.Apply(t.Context(), item)
	if len(out) != 1 {
		t.Fatalf("Apply of one item gave %d outcomes", len(out))
	}
	return out[0]
}

// must applies a transition that has to succeed.
func (s *subject) must(t T, item store.Transition) lease.Lease {
	t.Helper()
	out := s.one(t, item)
	if out.Err != nil || out.Withdrawn != "" {
		t.Fatalf("%T of %s: withdrawn %q, error %v", item.Change.Do, item.Change.ID, out.Withdrawn, out.Err)
	}
	return out.Lease
}

// begin makes an intent of l under a new id below path, and changes it before.
func (s *subject) begin(t T, path string, edit ...func(*lease.Lease)) lease.Lease {
	t.Helper()
	return s.must(t, s.beginning(lease.NewID(path), edit...))
}

func (s *subject) beginning(id lease.ID, edit ...func(*lease.Lease)) store.Transition {
	l := secret(id)
	for _, e := range edit {
		e(&l)
	}
	return s.change(id, 0, lease.Begin{Lease: l, Grace: grace})
}

// active makes an active lease.
func (s *subject) active(t T, path string, edit ...func(*lease.Lease)) lease.Lease {
	t.Helper()
	l := s.begin(t, path, edit...)
	return s.must(t, s.change(l.ID, l.Version, lease.Activate{Handle: []byte("oid")}))
}

// token makes an active token.
func (s *subject) token(t T, ttl time.Duration) lease.Lease {
	t.Helper()
	id := lease.NewID("auth/token/create")
	return s.must(t, s.change(id, 0, lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: ttl, Account: "accessor-" + string(id)}}))
}

// ended makes a lease that is over.
func (s *subject) ended(t T, path string, edit ...func(*lease.Lease)) lease.Lease {
	t.Helper()
	l := s.active(t, path, edit...)
	l = s.must(t, s.change(l.ID, l.Version, lease.Revoke{}))
	return s.must(t, s.change(l.ID, l.Version, lease.Finish{To: lease.Revoked}))
}

func (s *subject) get(t T, id lease.ID) lease.Lease {
	t.Helper()
	l, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatalf("Get %s: %v", id, err)
	}
	return l
}

// put makes an entry.
func (s *subject) put(t T, kind store.Kind, key string) store.Entry {
	t.Helper()
	put, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: kind, Key: key, Value: []byte(`{"v":1}`)}}})
	if err != nil || len(put) != 1 {
		t.Fatalf("make %s %s: %v, %d entries", kind, key, err, len(put))
	}
	return put[0]
}

func ref(e store.Entry) store.Ref { return store.Ref{Kind: e.Kind, ID: e.ID} }

func (s *subject) withdraw(t T, e store.Entry) {
	t.Helper()
	if _, err := s.Write(t.Context(), store.Write{Withdrawals: []store.Ref{ref(e)}}); err != nil {
		t.Fatalf("withdraw %s %s: %v", e.Kind, e.Key, err)
	}
}

func (s *subject) lock(t T, owner string) store.Lock {
	t.Helper()
	l, ok, err := s.Acquire(t.Context(), "publisher", owner, time.Minute)
	if err != nil || !ok {
		t.Fatalf("lock for %s: %v, %v", owner, ok, err)
	}
	return l
}

// numberAll numbers everything and returns every stored event.
func (s *subject) numberAll(t T) []event.Event {
	t.Helper()
	l := s.lock(t, "suite")
	for {
		_, n, err := s.Number(t.Context(), l, 100)
		if err != nil {
			t.Fatalf("Number: %v", err)
		}
		if n == 0 {
			return s.events(t, event.Position{})
		}
	}
}

// events reads all numbered events after a position, in pages.
func (s *subject) events(t T, after event.Position) (all []event.Event) {
	t.Helper()
	for {
		page, err := s.Events(t.Context(), after, 50)
		if err != nil {
			t.Fatalf("Events after %s: %v", after, err)
		}
		if len(page) == 0 {
			return all
		}
		all, after = append(all, page...), page[len(page)-1].Position
	}
}

// eventsOf are the events of one lease.
func (s *subject) eventsOf(t T, id lease.ID) (all []event.Event) {
	t.Helper()
	for _, e := range s.numberAll(t) {
		if e.Data.LeaseID == id {
			all = append(all, e)
		}
	}
	return all
}

// same compares by JSON: what a store keeps.
func same(a, b any) bool { return text(a) == text(b) }

func text(v any) string {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprintf("%+v: %v", v, err)
	}
	return string(body)
}

func ids(all []lease.Lease) []lease.ID {
	out := make([]lease.ID, len(all))
	for i := range all {
		out[i] = all[i].ID
	}
	return out
}

// find reads all pages of q, of the given size.
func (s *subject) find(t T, q store.Query) (all []lease.Lease) {
	t.Helper()
	q.Limit = cmp.Or(q.Limit, 2)
	for {
		page, err := s.Find(t.Context(), q)
		if err != nil {
			t.Fatalf("Find %+v: %v", q, err)
		}
		if len(page) > q.Limit {
			t.Fatalf("Find %+v gave %d, more than the limit", q, len(page))
		}
		if len(page) == 0 {
			return all
		}
		all, q.After = append(all, page...), page[len(page)-1].ID
	}
}
