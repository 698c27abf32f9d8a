//go:build integration

package database

import (
	"context"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/testkit"
)

// eachSite runs a test with both kinds of admin (C4).
func eachSite(t *testing.T, test func(s *site)) {
	t.Helper()
	for _, kind := range testkit.AdminKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			test(newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, kind)))
		})
	}
}

func (s *site) mark(target, was, now string) {
	s.tb.Helper()
	if err := s.SetMark(s.tb.Context(), target, was, now); err != nil {
		s.tb.Fatalf("set mark %q after %q: %v", now, was, err)
	}
}

// bears reports whether the target has the connection's mark role.
func (s *site) bears(id string) bool {
	s.tb.Helper()
	there, err := s.Exists(s.tb.Context(), postgres.MarkRole(id))
	if err != nil {
		s.tb.Fatal(err)
	}
	return there
}

// The commit whose answer is lost counts: only reading tells.
func TestMarkWithALostAnswer(t *testing.T) {
	t.Parallel()
	eachSite(t, func(s *site) {
		t := s.tb
		id := s.id()
		s.mark(id, "", "first")
		s.LoseAnswer()
		wantError(t, "set mark", id, s.SetMark(t.Context(), id, "first", "second"), engine.Unreachable)
		if mark, err := s.Engine.Mark(t.Context(), id); mark != "second" || err != nil {
			t.Fatalf("mark %q, %v", mark, err)
		}
		wantError(t, "set mark", id, s.SetMark(t.Context(), id, "first", "third"), engine.Conflict)
		s.mark(id, "second", "third")
	})
}

// Whoever drops the role by hand finds it again after the next round.
func TestMarkDroppedByHand(t *testing.T) {
	t.Parallel()
	eachSite(t, func(s *site) {
		t := s.tb
		id := s.id()
		s.mark(id, "", "first")
		s.admin.Cluster().Exec(t, "postgres", `DROP ROLE "`+postgres.MarkRole(id)+`"`)
		if mark, err := s.Engine.Mark(t.Context(), id); mark != "" || err != nil {
			t.Fatalf("mark %q, %v; want none", mark, err)
		}
		wantError(t, "set mark", id, s.SetMark(t.Context(), id, "first", "second"), engine.Conflict)
		if s.bears(id) {
			t.Error("a refused mark left its role behind")
		}
		s.mark(id, "", "second")
	})
}

// The connections of one cluster have a mark each, and reading makes none.
func TestMarksOfTwoConnections(t *testing.T) {
	t.Parallel()
	eachSite(t, func(s *site) {
		t := s.tb
		s.must(engine.Write, "config/other", s.config())
		one, other := s.id(), s.stored("other").entry.ID
		s.mark(one, "", "of one")
		if mark, err := s.Engine.Mark(t.Context(), other); mark != "" || err != nil || s.bears(other) {
			t.Fatalf("mark %q, %v; want none", mark, err)
		}
		s.mark(other, "", "of another")
		s.must(engine.Delete, "config/other", nil)
		if s.bears(other) || !s.bears(one) {
			t.Error("the mark of the deleted connection stays, or the other one is gone")
		}
	})
}

// The mark goes with the connection, when the last lease has ended and not
// before, and however the connection goes.
func TestMarkGoesWithItsConnection(t *testing.T) {
	t.Parallel()
	eachSite(t, func(s *site) {
		t := s.tb
		id, i := s.id(), s.issue("good")
		s.mark(id, "", "first")
		s.must(engine.Delete, "config/db", nil)
		if n, err := s.Tidy(t.Context()); n != 0 || err != nil || !s.bears(id) {
			t.Fatalf("%d forgotten, %v, with a lease left", n, err)
		}
		s.mark(id, "first", "second") // sweeps go on
		s.remove(i.Lease)
		if n, err := s.Tidy(t.Context()); n != 1 || err != nil {
			t.Fatalf("%d forgotten, %v, after the last lease", n, err)
		}
		if s.bears(id) {
			t.Error("the mark stays")
		}
		wantError(t, "set mark", id, s.SetMark(t.Context(), id, "", "third"), engine.NotFound)

		s.must(engine.Write, "config/db", s.config())
		s.must(engine.Write, "config/unmarked", s.config())
		id = s.id()
		s.mark(id, "", "first")
		if err := s.Disabled(t.Context(), mountID); err != nil || s.bears(id) {
			t.Errorf("after the mount was disabled: %v; the mark stays: %t", err, s.bears(id))
		}
		if left, err := s.Targets(t.Context()); err != nil || len(left) > 0 {
			t.Errorf("targets %v, %v; want none", left, err)
		}
	})
}

// A target that is away keeps the connection, hidden, until it is back.
func TestMarkOfATargetThatIsAway(t *testing.T) {
	t.Parallel()
	eachSite(t, func(s *site) {
		t := s.tb
		s.must(engine.Write, "config/other", s.config())
		one, other := s.id(), s.stored("other").entry.ID
		s.mark(one, "", "first")
		s.mark(other, "", "first")
		s.proxy.down.Store(true)
		s.proxy.cut()
		s.must(engine.Delete, "config/other", nil)
		s.refused(engine.NotFound, engine.Read, "config/other", nil)
		if err := s.Disabled(t.Context(), mountID); err != nil {
			t.Fatal(err)
		}
		s.refused(engine.NotFound, engine.Read, "config/db", nil)
		n, err := s.Tidy(t.Context())
		wantError(t, "tidy", "away", err, engine.Unreachable)
		if n != 0 || !s.bears(one) || !s.bears(other) {
			t.Fatalf("%d forgotten while the target is away", n)
		}
		s.proxy.down.Store(false)
		if n, err := s.Tidy(t.Context()); n != 2 || err != nil || s.bears(one) || s.bears(other) {
			t.Fatalf("%d forgotten, %v, with the target back", n, err)
		}
	})
}

// A target that never comes back does not keep its connection for ever.
func TestMarkOfATargetThatIsGone(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	id := s.id()
	s.mark(id, "", "first")
	s.proxy.down.Store(true)
	s.proxy.cut()
	s.must(engine.Delete, "config/db", nil)
	turned := false
	err := s.edit(t.Context(), id, system(), "a day later", func(c *stored) (bool, error) {
		turned = !c.KeptUntil.IsZero()
		c.KeptUntil = c.KeptUntil.Add(-unmarkFor)
		return true, nil
	})
	if err != nil || !turned {
		t.Fatalf("the end of the wait was set: %t, %v", turned, err)
	}
	if n, err := s.Tidy(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d forgotten, %v, after a day", n, err)
	}
	events := s.events()
	if last := events[len(events)-1]; !strings.Contains(last.Data.Reason, postgres.MarkRole(id)) || last.Data.Operation != string(engine.Delete) {
		t.Errorf("the last event is %+v, want one that names the role that stays", last)
	}
	if !strings.Contains(s.logs.String(), postgres.MarkRole(id)) {
		t.Error("the log does not name the role that stays")
	}
}

// meddler is a store that lets something happen before an answer.
type meddler struct {
	Store
	reading func()
	erasing func()
}

func (m *meddler) EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error) {
	if m.reading != nil {
		m.reading()
	}
	return m.Store.EntryByID(ctx, kind, id)
}

func (m *meddler) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	if m.erasing != nil && len(w.Deletes) > 0 {
		m.erasing()
	}
	return m.Store.Write(ctx, w)
}

// A sweep and the deletion of the connection meet: whoever is later, no mark is
// left.
func TestMarkThatMeetsTheDeletion(t *testing.T) {
	t.Parallel()
	eachSite(t, func(s *site) {
		t := s.tb
		id := s.id()
		s.mark(id, "", "first")
		sweeping := s.another()
		sweeping.store = &meddler{Store: s.fake, reading: func() {
			if mark, err := s.Mark(t.Context()); err == nil && mark == "second" {
				// Between the mark and the look whether it is wanted.
				if _, err := s.fake.Write(t.Context(), store.Write{Deletes: []store.Ref{{Kind: store.KindConnection, ID: id}}}); err != nil {
					t.Error(err)
				}
			}
		}}
		wantError(t, "set mark", id, sweeping.SetMark(t.Context(), id, "first", "second"), engine.NotFound)
		if s.bears(id) {
			t.Error("the sweep left the mark of a deleted connection")
		}

		s.must(engine.Write, "config/db", s.config())
		id = s.id()
		s.mark(id, "", "first")
		deleting, met := s.another(), false
		deleting.store = &meddler{Store: s.fake, erasing: func() {
			met = true
			s.mark(id, "", "second") // between the mark's end and the connection's
		}}
		if err := deleting.release(t.Context(), id); err != nil || !met {
			t.Fatalf("%v, met: %t", err, met)
		}
		if s.bears(id) {
			t.Error("the deletion left the mark that was set meanwhile")
		}
	})
}

// Setting a mark needs no new session: settings that a target depends on are the
// same.
func TestMarkKeepsTheSessions(t *testing.T) {
	t.Parallel()
	s := newSite(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	id := s.id()
	backend := func() (pid int) {
		err := s.super(t.Context(), `SELECT coalesce(min(pid), 0) FROM pg_stat_activity WHERE usename = $1`, []any{s.admin.User}, &pid)
		if err != nil {
			t.Fatal(err)
		}
		return pid
	}
	if _, err := s.Engine.Mark(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	before := backend()
	s.mark(id, "", "first")
	s.mark(id, "first", "second")
	if after := backend(); before == 0 || after != before {
		t.Errorf("session %d before, %d after", before, after)
	}
	n := 0
	for _, e := range s.events() {
		if e.Data.Reason == "target is to be marked" {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d events of the first mark, want 1", n)
	}
}
