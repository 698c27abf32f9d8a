package storetest

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

func tokenLaws() []law {
	return []law{
		{"D7 every change of a token is told, with its number and before", lawTokensChanged},
		{"D7 what cannot be told is missed", lawTokensMissed},
		{"D7 an epoch is another count", lawTokensEpoch},
	}
}

// changed asks which tokens changed; nil is that some were missed.
func (s *subject) changed(t T, after event.Position, limit int) (tokens []lease.ID) {
	t.Helper()
	before, err1 := s.Now(t.Context())
	c, err := s.ChangedTokens(t.Context(), after, limit)
	if err1 != nil || err != nil {
		t.Fatalf("ChangedTokens: %v, %v", err1, err)
	}
	if now := s.head(t); c.Head != now {
		t.Errorf("it is up to %s, and the head is %s", c.Head, now)
	}
	if c.At.Before(before) || c.At.After(s.clock.Now()) {
		t.Errorf("it was read at %s, want the store's time, %s", c.At, before)
	}
	if c.Missed {
		if len(c.Tokens) > 0 {
			t.Errorf("some are missed, and yet there are %q", c.Tokens)
		}
		return nil
	}
	return append([]lease.ID{}, c.Tokens...)
}

func (s *subject) wantChanged(t T, when string, after event.Position, want ...lease.ID) {
	t.Helper()
	got := s.changed(t, after, 100)
	slices.Sort(want)
	if got == nil || !slices.Equal(got, want) {
		t.Errorf("%s: after %s %q changed, want %q", when, after, got, want)
	}
}

func (s *subject) renewable(t T) lease.Lease {
	t.Helper()
	return s.must(t, s.change(lease.NewID("auth/token/create"), 0, lease.Begin{Lease: lease.Lease{
		Kind: lease.Token, TTL: time.Hour, Renewable: true,
	}}))
}

func lawTokensChanged(t T, s *subject) {
	a, b, c := s.renewable(t), s.token(t, time.Hour), s.token(t, time.Hour)
	secret := s.active(t, "database/creds/a")
	s.numberAll(t)
	begun := s.head(t)
	s.wantChanged(t, "after beginnings", event.Position{Epoch: begun.Epoch})

	s.must(t, s.change(a.ID, lease.AnyVersion, lease.Renew{Increment: time.Minute}))
	s.must(t, s.change(secret.ID, lease.AnyVersion, lease.Revoke{}))
	reason := s.change(b.ID, lease.AnyVersion, lease.Revoke{})
	reason.Change.Reason = `not the "kind":"token" that it says`
	s.must(t, reason)
	noise := event.Event{Type: event.RequestServed, Subject: store.OfToken, Data: event.Data{Reason: store.OfToken}}
	if err := s.Append(t.Context(), noise, noise); err != nil {
		t.Fatalf("Append: %v", err)
	}
	s.wantChanged(t, "without a number", begun, a.ID, b.ID)
	lock := s.lock(t, "suite")
	for range 5 { // one has its number, and then the other
		if _, _, err := s.Number(t.Context(), lock, 1); err != nil {
			t.Fatalf("Number: %v", err)
		}
		s.wantChanged(t, "amid numbering", begun, a.ID, b.ID)
	}
	s.numberAll(t)
	s.wantChanged(t, "with their numbers", begun, a.ID, b.ID)
	all := s.events(t, begun)
	s.wantChanged(t, "after the first", all[0].Position, b.ID)
	s.wantChanged(t, "after the head", s.head(t))
	s.must(t, s.change(c.ID, lease.AnyVersion, lease.Revoke{}))
	s.wantChanged(t, "some with and one without a number", begun, a.ID, b.ID, c.ID)
	s.wantChanged(t, "after the head", s.head(t), c.ID)
}

func lawTokensMissed(t T, s *subject) {
	if got := s.changed(t, event.Position{}, 100); got != nil {
		t.Errorf("of an epoch that never was %q changed, want: missed", got)
	}
	var tokens []lease.Lease
	for range 4 {
		tokens = append(tokens, s.token(t, time.Hour))
	}
	for _, l := range tokens {
		s.must(t, s.change(l.ID, l.Version, lease.Revoke{}))
	}
	head := s.numberAll(t)
	end := head[len(head)-1].Position
	if got := s.changed(t, positionBefore(end.Epoch, end.Number+2), 100); got != nil {
		t.Errorf("after what never was %q changed, want: missed", got)
	}
	four := positionBefore(end.Epoch, end.Number-3)
	for limit, missed := range map[int]bool{0: true, 3: true, 4: false, 5: false} {
		if got := s.changed(t, four, limit); (got == nil) != missed {
			t.Errorf("at most %d of 4: %q, want missed: %v", limit, got, missed)
		}
	}
	if _, err := s.Trim(t.Context(), positionBefore(end.Epoch, end.Number), 100); err != nil {
		t.Fatalf("Trim: %v", err)
	}
	s.wantChanged(t, "after what was deleted", positionBefore(end.Epoch, end.Number), tokens[3].ID)
	if got := s.changed(t, positionBefore(end.Epoch, end.Number-1), 100); got != nil {
		t.Errorf("across what was deleted %q changed, want: missed", got)
	}
}

func lawTokensEpoch(t T, s *subject) {
	l := s.token(t, time.Hour)
	s.append(t, 4)
	s.numberAll(t)
	before := s.head(t)
	s.suspend(t)
	s.must(t, s.change(l.ID, l.Version, lease.Revoke{}))
	s.wantChanged(t, "in a suspended store", before, l.ID)
	s.resume(t, before.Epoch+3, before)
	if got := s.changed(t, before, 100); got != nil {
		t.Errorf("in another epoch %q changed, want: missed", got)
	}
	s.wantChanged(t, "in the new epoch", event.Position{Epoch: before.Epoch + 3}, l.ID)
	s.numberAll(t)
	s.wantChanged(t, "in the new epoch, numbered", event.Position{Epoch: before.Epoch + 3}, l.ID)
}

// changed compares what changed after somewhere.
func (p *pair) changed(t *rapid.T, after event.Position) {
	limit := rapid.IntRange(0, 20).Draw(t, "changes")
	got, err1 := p.real.ChangedTokens(t.Context(), after, limit)
	fake, err2 := p.fake.ChangedTokens(t.Context(), after, limit)
	p.agree(t, "ChangedTokens after "+after.String(), []any{got.Head, got.Missed, append([]lease.ID{}, got.Tokens...)},
		[]any{fake.Head, fake.Missed, append([]lease.ID{}, fake.Tokens...)}, err1, err2)
}
