//go:build integration

package database

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/testkit"
)

const ownTemplate = `App.{{.RoleName | uppercase | truncate 6}}@{{.Mark}}_{{random 3}}`

// The suite holds for names of a template, too.
func TestTemplatedNamesConform(t *testing.T) {
	t.Parallel()
	admin := testkit.SharedPostgres(t)
	enginetest.Run(t, func(tb testing.TB) enginetest.Harness {
		tb.Helper()
		s := newSite(tb, admin.CreateAdmin(tb, testkit.CreateRoleAdmin))
		s.must(engine.Write, "config/db", map[string]any{"username_template": ownTemplate})
		return s.harness()
	})
}

// A2, B2, B3: what a template named is found and taken away when the template
// is another one, or none, and when the connection is deleted.
func TestTemplatedStraysAreFound(t *testing.T) {
	t.Parallel()
	for _, kind := range testkit.AdminKinds() { // (C4)
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, kind))
			ctx, id := t.Context(), s.id()
			var names []string
			last := issued{}
			for _, template := range []string{ownTemplate, `{{.Mark}}`, `z{{.DisplayName | truncate 10}}-{{.Mark}}`, ""} {
				s.must(engine.Write, "config/db", map[string]any{"username_template": template})
				last = s.issue("good")
				if err := s.Login(ctx, last.Account, last.password.Reveal()); err != nil {
					t.Errorf("%s: %v", last.Account, err)
				}
				names = append(names, last.Account)
			}
			if !strings.HasPrefix(names[0], "App.GOOD@") || !strings.HasPrefix(names[3], "v-token-ap-good-") {
				t.Errorf("names %q", names)
			}
			s.must(engine.Delete, "config/db", nil)
			found := s.accounts(ctx, id)
			for _, name := range names {
				if !slices.ContainsFunc(found, func(a engine.Account) bool { return a.Name == name }) {
					t.Errorf("%s is not found in %v", name, found)
				}
			}
			for _, a := range found {
				if !slices.Contains(names, a.Name) {
					continue // of another test, in the same cluster
				}
				plan, handle, err := s.StrayPlan(ctx, id, a)
				if err != nil {
					t.Fatal(err)
				}
				stray := last.Lease
				stray.Kind, stray.Account, stray.Plan, stray.Handle = lease.Stray, a.Name, plan, handle
				if o := s.Remove(ctx, id, []lease.Lease{stray})[0]; o.Err != nil || !o.Gone {
					t.Errorf("%s: %+v", a.Name, o)
				}
			}
			finish(t, s.bench, last.Lease)
		})
	}
}

// accounts are all that bear the mark, read in small pages.
func (s *site) accounts(ctx context.Context, id string) []engine.Account {
	s.tb.Helper()
	var all []engine.Account
	after := ""
	for {
		page, err := s.Accounts(ctx, id, after, 2)
		if err != nil {
			s.tb.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all, after = append(all, page...), page[len(page)-1].Name
	}
}
