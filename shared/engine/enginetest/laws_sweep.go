package enginetest

import (
	"slices"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
)

func sweeper(tb testing.TB, h Harness) engine.Sweeper {
	tb.Helper()
	s, ok := h.Engine.(engine.Sweeper)
	if !ok {
		tb.Skip("the engine has no sweeper")
	}
	return s
}

func straysAreFound(tb testing.TB, h Harness) {
	tb.Helper()
	s := sweeper(tb, h)
	foreign, err := h.Target.Foreign(tb.Context())
	if err != nil {
		tb.Fatalf("make a foreign account: %v", err)
	}
	made := map[string]*issued{}
	for range 5 {
		i := issue(tb, h)
		made[i.name()] = i
	}
	target := wantListed(tb, s, made)
	found := pages(tb, s, target, 2)
	names := make([]string, 0, len(found))
	for _, a := range found {
		names = append(names, a.Name)
		if i := made[a.Name]; i != nil {
			if off := a.CreatedAt.Sub(i.lease.IssuedAt).Abs(); off > marginMax {
				tb.Errorf("%s: created at %s, issued at %s", a.Name, a.CreatedAt, i.lease.IssuedAt)
			}
		}
	}
	if !slices.IsSorted(names) {
		tb.Errorf("accounts are not in the order of their names: %q", names)
	}
	if slices.Contains(names, foreign) {
		tb.Errorf("%s is not ours", foreign)
	}
	for name := range made {
		if !slices.Contains(names, name) {
			tb.Errorf("%s was not found", name)
		}
	}
	for _, a := range found {
		if made[a.Name] != nil {
			removeStray(tb, h, s, target, a)
		}
	}
	wantExists(tb, h, foreign, true)
}

// wantListed checks that the target of the leases is among the engine's.
func wantListed(tb testing.TB, s engine.Sweeper, made map[string]*issued) string {
	tb.Helper()
	targets, err := s.Targets(tb.Context())
	if err != nil {
		tb.Fatalf("list targets: %v", err)
	}
	for _, i := range made {
		if !slices.ContainsFunc(targets, func(t engine.Target) bool { return t.ID == i.lease.Target && t.MountID == i.lease.MountID }) {
			tb.Fatalf("target %s is not among %v", i.lease.Target, targets)
		}
		return i.lease.Target
	}
	return ""
}

func pages(tb testing.TB, s engine.Sweeper, target string, limit int) []engine.Account {
	tb.Helper()
	var all []engine.Account
	after := ""
	for {
		page, err := s.Accounts(tb.Context(), target, after, limit)
		if err != nil {
			tb.Fatalf("list accounts after %q: %v", after, describe(err))
		}
		if len(page) > limit {
			tb.Fatalf("%d accounts, asked for %d", len(page), limit)
		}
		if len(page) == 0 {
			return all
		}
		if page[0].Name <= after && after != "" {
			tb.Fatalf("a page after %q begins with %q", after, page[0].Name)
		}
		all, after = append(all, page...), page[len(page)-1].Name
	}
}

func removeStray(tb testing.TB, h Harness, s engine.Sweeper, target string, a engine.Account) {
	tb.Helper()
	frozen, handle, err := s.StrayPlan(tb.Context(), target, a)
	if err != nil {
		tb.Fatalf("plan the revocation of stray %s: %v", a.Name, describe(err))
	}
	now, err := h.Target.Now(tb.Context())
	if err != nil {
		tb.Fatalf("read the target's clock: %v", err)
	}
	begin := lease.Change{ID: lease.NewID(h.Mount + "stray"), Key: "stray", Reason: "stray", Do: lease.Begin{Lease: lease.Lease{
		Kind: lease.Stray, MountID: h.MountID, Mount: h.Mount, Engine: h.Engine.Type(),
		Target: target, Account: a.Name, Plan: frozen, Handle: handle,
	}}}
	l, err := begin.Apply(lease.Lease{}, now)
	if err != nil {
		tb.Fatalf("begin stray: %v", err)
	}
	remove(tb, h, []lease.Lease{l})
	wantExists(tb, h, a.Name, false)
}

func ghostsOfNone(tb testing.TB, h Harness) {
	tb.Helper()
	s := sweeper(tb, h)
	i := issue(tb, h)
	open := session(tb, h, i)
	n, err := s.EndGhosts(tb.Context(), i.lease.Target)
	if err != nil {
		tb.Fatalf("end ghosts: %v", describe(err))
	}
	if n != 0 {
		tb.Errorf("%d ghosts ended where none were", n)
	}
	if !open.Alive(tb.Context()) {
		tb.Errorf("the session of a live account was ended as a ghost")
	}
}
