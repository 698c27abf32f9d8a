package storetest

import (
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func findLaws() []law {
	return []law{
		{"find: each field restricts, pages are complete, counts agree", lawFind},
		{"get: many are those that exist, each as by itself", lawGetMany},
		{"find: what is in revocation is found by that alone, and summed up", lawRevoking},
		{"find: a prefix is a prefix of the id, nothing more", lawPrefix},
		{"find: a query that selects nothing in particular is refused", lawUnselective},
		{"children: the next elements of what has not ended", lawChildren},
	}
}

// lawFind compares Find and Count with a filter over all leases, for many
// combinations of the fields.
func lawFind(t T, s *subject) {
	var all []lease.Lease
	pick := func(i int, of ...string) string { return of[i%len(of)] }
	for i := range 48 {
		edit := func(l *lease.Lease) {
			l.MountID, l.Target = pick(i, "m1", "m2"), pick(i/2, "t1", "t2", "")
			l.TokenID, l.Account = lease.ID(pick(i/3, "k1", "k2", "k3")), pick(i/5, "a1", "a2")
		}
		path := pick(i, "x/creds/a", "x/creds/b", "y/creds/a")
		switch i % 5 {
		case 0:
			all = append(all, s.begin(t, path, edit))
		case 1, 2:
			all = append(all, s.active(t, path, edit))
		case 3:
			all = append(all, s.revoking(t, path, i%2 == 0, edit))
		default:
			all = append(all, s.ended(t, path, edit))
		}
	}
	slices.SortFunc(all, func(a, b lease.Lease) int { return cmpID(a.ID, b.ID) })
	for _, q := range queries(all[20].Position) {
		var want []lease.Lease
		for i := range all {
			if matches(&all[i], &q) {
				want = append(want, all[i])
			}
		}
		if got := s.find(t, q); !same(ids(got), ids(want)) || len(got) > 0 && !same(got, want) {
			t.Errorf("Find %+v gave %v, want %v", q, ids(got), ids(want))
		}
		if n, err := s.Count(t.Context(), q); err != nil || int(n) != len(want) {
			t.Errorf("Count %+v: %d, %v; want %d", q, n, err, len(want))
		}
	}
}

// lawGetMany asks for leases in every state, twice over, among others that never
// were.
func lawGetMany(t T, s *subject) {
	var all []lease.Lease
	var wanted []lease.ID
	for i := range 40 {
		path := []string{"x/creds/a", "y/creds/b"}[i%2]
		switch i % 3 {
		case 0:
			all = append(all, s.begin(t, path))
		case 1:
			all = append(all, s.active(t, path))
		default:
			all = append(all, s.ended(t, path))
		}
		wanted = append(wanted, all[i].ID, lease.NewID(path))
	}
	wanted = append(wanted, wanted[:10]...)
	slices.SortFunc(all, func(a, b lease.Lease) int { return cmpID(a.ID, b.ID) })
	got, err := s.GetMany(t.Context(), wanted...)
	if err != nil || !same(got, all) {
		t.Errorf("GetMany gave %v, %v; want %v", ids(got), err, ids(all))
	}
	for _, l := range got {
		if one, err := s.Get(t.Context(), l.ID); err != nil || !same(one, l) {
			t.Errorf("Get of %s is another: %v", l.ID, err)
		}
	}
	if none, err := s.GetMany(t.Context()); err != nil || len(none) != 0 {
		t.Errorf("GetMany of none gave %v, %v", ids(none), err)
	}
}

func cmpID(a, b lease.ID) int {
	if a < b {
		return -1
	}
	return 1
}

func queries(before int64) (all []store.Query) {
	selectors := []store.Query{
		{Prefix: "x/"},
		{Prefix: "x/creds/b/"},
		{Prefix: "z/"},
		{Token: "k1"},
		{Account: "a2"},
		{MountID: "m2"},
		{Target: "t1"},
		{Prefix: "x/", Token: "k2"},
		{Account: "a1", MountID: "m1"},
		{Target: "t2", Token: "k3", Prefix: "y/"},
	}
	states := [][]lease.State{
		nil,
		{lease.Active},
		{lease.Intent, lease.Active},
		{lease.Revoked},
		{lease.Revoked, lease.Intent},
		{lease.Revoking},
		{lease.Revoking, lease.Active},
	}
	for _, q := range selectors {
		for _, q.States = range states {
			if q.Prefix == "" && q.Account == "" && !q.Open() {
				continue // refused
			}
			for _, q.Before = range []int64{0, before} {
				all = append(all, q)
			}
		}
		q.States, q.Before, q.Kind = []lease.State{lease.Intent, lease.Active}, 0, lease.Token
		all = append(all, q)
		q.States, q.Kind, q.Parked = []lease.State{lease.Revoking}, "", true
		all = append(all, q)
	}
	revoking := []lease.State{lease.Revoking}
	return append(all, store.Query{States: revoking}, store.Query{States: revoking, Parked: true, Before: before})
}

// revoking is a lease whose revocation has failed once.
func (s *subject) revoking(t T, path string, parked bool, edit ...func(*lease.Lease)) lease.Lease {
	t.Helper()
	l := s.active(t, path, edit...)
	l = s.must(t, s.change(l.ID, l.Version, lease.Revoke{}))
	return s.must(t, s.change(l.ID, l.Version, lease.Progress{Failed: true, Error: "no", Parked: parked, After: time.Minute}))
}

func lawRevoking(t T, s *subject) {
	var all []lease.Lease
	for i := range 12 {
		s.clock.Advance(time.Second)
		all = append(all, s.revoking(t, "x/creds/a", i%3 == 0, func(l *lease.Lease) {
			l.MountID, l.Target = []string{"m1", "m2"}[i%2], []string{"t1", "t2", ""}[i%3]
		}))
	}
	s.active(t, "x/creds/a")
	s.begin(t, "x/creds/a")
	s.ended(t, "x/creds/a")
	token := s.token(t, term)
	all = append(all, s.must(t, s.change(token.ID, token.Version, lease.Revoke{})))
	check := func() {
		t.Helper()
		got, err := s.Revoking(t.Context())
		if want := sumUp(all); err != nil || !slices.Equal(got, want) {
			t.Errorf("in revocation are\n%+v, want\n%+v (%v)", got, want, err)
		}
	}
	check()
	// Out of it, parked or not, and no more parked.
	all = all[2:]
	for _, l := range s.find(t, store.Query{States: []lease.State{lease.Revoking}}) {
		switch {
		case !slices.ContainsFunc(all, func(o lease.Lease) bool { return o.ID == l.ID }):
			s.must(t, s.change(l.ID, l.Version, lease.Finish{To: lease.Revoked}))
		case l.ID == all[1].ID:
			all[1] = s.must(t, s.change(l.ID, l.Version, lease.Progress{Failed: true, After: time.Minute}))
		}
	}
	check()
}

func lawPrefix(t T, s *subject) {
	a := s.begin(t, "database/creds/a")
	ab := s.begin(t, "database/creds/ab")
	s.begin(t, "databasf/creds/a")
	s.begin(t, "Database/creds/a")
	for prefix, want := range map[string][]lease.ID{
		"database/creds/a/":  {a.ID},
		"database/creds/a":   {a.ID, ab.ID},
		"database/creds/a%":  nil,
		"database/creds/_b/": nil,
		string(a.ID):         {a.ID},
	} {
		if got := ids(s.find(t, store.Query{Prefix: prefix})); !same(got, append([]lease.ID{}, want...)) {
			t.Errorf("prefix %q finds %v, want %v", prefix, got, want)
		}
	}
}

func lawUnselective(t T, s *subject) {
	final, both := []lease.State{lease.Revoked}, []lease.State{lease.Active, lease.Expired}
	for _, q := range []store.Query{
		{},
		{Kind: lease.Secret},
		{States: []lease.State{lease.Active}},
		{Before: 5, Limit: 1},
		{Token: "k"},
		{Token: "k", States: final},
		{MountID: "m"},
		{MountID: "m", States: both},
		{Target: "t"},
		{Target: "t", States: final},
	} {
		if _, err := s.Find(t.Context(), q); err == nil {
			t.Errorf("Find %+v was answered", q)
		}
		if _, err := s.Count(t.Context(), q); err == nil {
			t.Errorf("Count %+v was answered", q)
		}
	}
}

func lawChildren(t T, s *subject) {
	for _, id := range []lease.ID{
		"database/creds/a/1", "database/creds/a/2", "database/creds/a-b/1", "database/creds/a/1/deep",
		"database/creds/b/1", "database/config", "database-2/creds/a/1", "auth/token/create/1",
	} {
		s.must(t, s.beginning(id))
	}
	s.ended(t, "gone/creds/a")
	s.ended(t, "database/creds/gone")
	for prefix, want := range map[string][]string{
		"":                     {"auth/", "database-2/", "database/"},
		"database/":            {"config", "creds/"},
		"database/creds/":      {"a-b/", "a/", "b/"},
		"database/creds/a/":    {"1", "1/", "2"},
		"database/creds/a-b/":  {"1"},
		"database/creds/gone/": {
			// ended
		},
		"nowhere/": {},
	} {
		for _, limit := range []int{1, 2, 100} {
			if got := s.children(t, prefix, limit); !slices.Equal(got, want) {
				t.Errorf("children of %q in pages of %d: %v, want %v", prefix, limit, got, want)
			}
		}
	}
}

func (s *subject) children(t T, prefix string, limit int) (all []string) {
	t.Helper()
	for after := ""; ; after = all[len(all)-1] {
		page, err := s.Children(t.Context(), prefix, after, limit)
		if err != nil || len(page) > limit {
			t.Fatalf("Children of %q after %q: %v, %v", prefix, after, page, err)
		}
		if len(page) == 0 {
			return all
		}
		if all = append(all, page...); len(all) > 100 {
			t.Fatalf("Children of %q has no end: %v", prefix, all)
		}
	}
}
