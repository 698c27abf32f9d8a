package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func quotaLaws() []law {
	return []law{
		{"E a quota refuses the beginning that it has no room for", lawQuotaRefuses},
		{"E the quota of the longest path governs, and counts what it governs", lawQuotaLongest},
		{"E what ends makes room, what is taken away does not yet", lawQuotaFreed},
		{"E a quota counts secrets and tokens that expire", lawQuotaCounted},
		{"E a quota holds for the items of one call and over a race", lawQuotaRace},
		{"E a quota that was edited or deleted holds from then on", lawQuotaEdited},
		{"E living leases are counted by path", lawLiving},
		{"E a recount finds counts that are wrong, and mends each once", lawMiscounts},
		{"A7 a quota does not keep a lease from being restored", lawQuotaRestore},
	}
}

// quota makes a quota.
func (s *subject) quota(t T, name, path string, most int64) store.Entry {
	t.Helper()
	value, err := store.QuotaValue(most)
	if err != nil {
		t.Fatalf("%v", err)
	}
	put, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{
		{Kind: store.KindLeaseQuota, Key: store.QuotaKey(path), ID: name, Value: value},
	}})
	if err != nil || len(put) != 1 {
		t.Fatalf("make quota %s: %v", name, err)
	}
	return put[0]
}

// admits begins a lease below path, and reports whether it was let in. A refusal
// must name the quota and the path, and leave nothing.
func (s *subject) admits(t T, path, quota string) bool {
	t.Helper()
	item := s.beginning(lease.NewID(path))
	out := s.one(t, item)
	var refused *store.QuotaError
	switch {
	case out.Err == nil:
		return true
	case !errors.Is(out.Err, store.ErrQuota) || !errors.As(out.Err, &refused):
		t.Fatalf("begin below %s: %v", path, out.Err)
	case refused.Name != quota || refused.Path != path:
		t.Errorf("refused by %q at %q, want %q at %q", refused.Name, refused.Path, quota, path)
	}
	if _, err := s.Get(t.Context(), item.Change.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the refused beginning left a row: %v", err)
	}
	if all := s.eventsOf(t, item.Change.ID); len(all) != 0 {
		t.Errorf("the refused beginning left %d events", len(all))
	}
	return false
}

// fill begins leases below path until it is refused, and returns how many were
// let in; more than most of them is a defect.
func (s *subject) fill(t T, path, quota string, most int) int {
	t.Helper()
	for n := range most + 1 {
		if !s.admits(t, path, quota) {
			return n
		}
	}
	return most + 1
}

func lawQuotaRefuses(t T, s *subject) {
	s.begin(t, "database/creds/a") // before there was a quota
	s.quota(t, "all", "", 3)
	if n := s.fill(t, "database/creds/a", "all", 2); n != 2 {
		t.Errorf("beside one lease a quota of 3 let in %d", n)
	}
	if s.admits(t, "aws/sts/x", "all") {
		t.Errorf("the quota of everything is for one mount only")
	}
}

func lawQuotaLongest(t T, s *subject) {
	s.quota(t, "all", "", 3)
	s.quota(t, "mount", "database/", 2)
	s.quota(t, "role", "database/creds/a/", 5)
	for _, c := range []struct {
		path, quota string
		most        int
	}{{"database/creds/a", "role", 5}, {"database/creds/a-b", "mount", 2}, {"aws/sts/x", "all", 3}} {
		if n := s.fill(t, c.path, c.quota, c.most); n != c.most {
			t.Errorf("below %s %d were let in, want %d", c.path, n, c.most)
		}
	}
}

func lawQuotaFreed(t T, s *subject) {
	s.quota(t, "one", "database/", 1)
	l := s.begin(t, "database/creds/a")
	steps := []lease.Action{
		lease.Activate{}, lease.Renew{}, lease.Revoke{}, lease.Progress{Failed: true, Error: "e", After: grace}, lease.Finish{To: lease.Abandoned},
	}
	for _, do := range steps {
		if s.admits(t, "database/creds/a", "one") {
			t.Errorf("there was room before %T, when the lease was %s", do, l.State)
		}
		l = s.must(t, s.change(l.ID, l.Version, do))
	}
	if !s.admits(t, "database/creds/a", "one") {
		t.Errorf("a lease that is %s still counts", l.State)
	}
}

func lawQuotaCounted(t T, s *subject) {
	s.quota(t, "all", "", 1)
	s.token(t, 0) // a root token locks nobody out, and is never locked out
	s.must(t, s.change(lease.NewID("database/stray"), 0, lease.Begin{Lease: lease.Lease{Kind: lease.Stray, Account: "v-stray", Target: "target-1"}}))
	s.token(t, term)
	s.token(t, 0)
	out := s.one(t, s.change(lease.NewID("auth/token/create"), 0, lease.Begin{Lease: lease.Lease{Kind: lease.Token, TTL: term, Account: "x"}}))
	if !errors.Is(out.Err, store.ErrQuota) {
		t.Errorf("a second token that expires: %v, want ErrQuota", out.Err)
	}
	if s.admits(t, "database/creds/a", "all") {
		t.Errorf("a token does not count for secrets")
	}
}

func lawQuotaRace(t T, s *subject) {
	const most, each, calls = 40, 8, 16
	s.quota(t, "mount", "database/", most)
	ctx := t.Context()
	items := make([][]store.Transition, calls)
	for i := range items {
		for n := range each {
			items[i] = append(items[i], s.beginning(lease.NewID(fmt.Sprintf("database/creds/r%d", n))))
		}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var made []lease.Lease
	refused := 0
	for i := range items {
		wg.Go(func() {
			for _, out := range s.Apply(ctx, items[i]...) {
				mu.Lock()
				switch {
				case out.Err == nil:
					made = append(made, out.Lease)
				case errors.Is(out.Err, store.ErrQuota):
					refused++
				default:
					t.Errorf("begin in a race: %v", out.Err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(made) != most || refused != calls*each-most {
		t.Errorf("of %d racing beginnings %d were made, %d refused; the quota is %d", calls*each, len(made), refused, most)
	}
	s.living(t, "database/", most)
}

func lawQuotaEdited(t T, s *subject) {
	e := s.quota(t, "q", "database/", 1)
	s.begin(t, "database/creds/a")
	write := func(w store.Write) {
		t.Helper()
		put, err := s.Write(t.Context(), w)
		if err != nil {
			t.Fatalf("Write: %v", err)
		}
		if len(put) == 1 {
			e = put[0]
		}
	}
	e.Value = []byte(`{"max_leases":2}`)
	write(store.Write{Puts: []store.Entry{e}})
	if n := s.fill(t, "database/creds/a", "q", 1); n != 1 {
		t.Errorf("after it was raised by one, %d more were let in", n)
	}
	// Another path under the same name.
	write(store.Write{
		Deletes: []store.Ref{ref(e)},
		Puts:    []store.Entry{{Kind: e.Kind, Key: store.QuotaKey("aws/"), ID: e.ID, Value: []byte(`{"max_leases":0}`)}},
	})
	if !s.admits(t, "database/creds/a", "") || s.admits(t, "aws/sts/x", "q") {
		t.Errorf("the quota does not govern its new path, and it only")
	}
	write(store.Write{Deletes: []store.Ref{ref(e)}})
	if !s.admits(t, "aws/sts/x", "") {
		t.Errorf("the deleted quota still refuses")
	}
}

// living checks a count.
func (s *subject) living(t T, path string, want int64) {
	t.Helper()
	if n, err := s.Living(t.Context(), path); err != nil || n != want {
		t.Errorf("below %q live %d (%v), want %d", path, n, err, want)
	}
}

// lawMiscounts: what is kept is what lives, whatever happened; what was mended
// wrongly is found, and mended.
func lawMiscounts(t T, s *subject) {
	walk := func() []store.Miscount {
		t.Helper()
		found, err := s.Miscounts(t.Context(), func(context.Context) error { return nil })
		if err != nil {
			t.Fatalf("Miscounts: %v", err)
		}
		return found
	}
	s.begin(t, "database/creds/a")
	s.active(t, "database/creds/b")
	s.revoking(t, "database/creds/b", true)
	s.ended(t, "database/creds/a")
	s.token(t, term)
	s.token(t, 0)
	if found := walk(); len(found) > 0 {
		t.Errorf("counts are wrong: %+v", found)
	}
	e := s.put(t, store.KindSystem, "recount")
	mend := func(found ...store.Miscount) {
		t.Helper()
		put, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{e}, Mends: found})
		if err != nil {
			t.Fatalf("Write: %v", err)
		}
		stale := e
		e = put[0]
		if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{stale}, Mends: found}); !errors.Is(err, store.ErrRevision) {
			t.Errorf("mended twice: %v", err)
		}
	}
	mend(store.Miscount{Path: "database/", Kept: 3, Living: 1}, store.Miscount{Path: "gone/", Living: 2}, store.Miscount{Path: "database/creds/b/", Kept: 2, Living: 7})
	s.living(t, "database/", 1)
	s.living(t, "gone/", 2)
	found := walk()
	want := []store.Miscount{
		{Path: "database/", Kept: 1, Living: 3}, {Path: "database/creds/b/", Kept: 7, Living: 2}, {Path: "gone/", Kept: 2, Living: 0},
	}
	if !slices.Equal(found, want) {
		t.Errorf("counts differ by %+v, want %+v", found, want)
	}
	// What changes between the walk and the mending counts as ever.
	s.begin(t, "database/creds/b")
	mend(found...)
	s.living(t, "database/", 4)
	s.living(t, "database/creds/b/", 3)
	if found := walk(); len(found) > 0 {
		t.Errorf("counts are still wrong: %+v", found)
	}
}

func lawLiving(t T, s *subject) {
	s.living(t, "", 0)
	a, b := s.begin(t, "database/creds/a"), s.active(t, "database/creds/a/b")
	s.token(t, term)
	s.token(t, 0)
	s.ended(t, "database/creds/a")
	for path, want := range map[string]int64{
		"": 3, "database/": 2, "database/creds/": 2, "database/creds/a/": 2, "database/creds/a/b/": 1, "auth/": 1, "aws/": 0,
	} {
		s.living(t, path, want)
	}
	// Both at once, so that the changes of one commit meet at a path.
	s.Apply(t.Context(), s.change(a.ID, a.Version, lease.Revoke{}), s.change(b.ID, b.Version, lease.Revoke{}), s.beginning(lease.NewID("database/creds/c")))
	s.living(t, "database/", 3)
	s.Apply(t.Context(), s.change(a.ID, lease.AnyVersion, lease.Finish{To: lease.Revoked}), s.change(b.ID, lease.AnyVersion, lease.Finish{To: lease.Revoked}))
	s.living(t, "database/creds/a/", 0)
	s.living(t, "database/", 1)
}

func lawQuotaRestore(t T, s *subject) {
	s.quota(t, "none", "", 0)
	id := lease.NewID("database/creds/a")
	l := secret(id)
	l.ID, l.State, l.Version = id, lease.Active, 2
	l.IssuedAt, l.ActivatedAt, l.ExpiresAt = s.clock.Now(), s.clock.Now(), s.clock.Now().Add(term)
	s.must(t, s.change(id, lease.AnyVersion, lease.Restore{Known: l}))
	s.living(t, "database/", 1)
}
