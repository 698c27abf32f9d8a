package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// Law: what begins with a prefix lies between it and its end, and nothing else
// does.
func TestPrefixEnd(t *testing.T) {
	t.Parallel()
	text := rapid.StringOf(rapid.OneOf(rapid.Rune(), rapid.SampledFrom([]rune{utf8.MaxRune, surrogates - 1, 'a', '/', 0x7f})))
	rapid.Check(t, func(t *rapid.T) {
		prefix, other := text.Draw(t, "prefix"), text.Draw(t, "other")
		if rapid.Bool().Draw(t, "inside") {
			other = prefix + other
		}
		end, bounded := prefixEnd(prefix)
		if bounded && !utf8.ValidString(end) {
			t.Fatalf("the end of %q is no text: %q", prefix, end)
		}
		within := other >= prefix && (!bounded || other < end)
		if within != strings.HasPrefix(other, prefix) {
			t.Errorf("%q lies between %q and %q (%v): %v", other, prefix, end, bounded, within)
		}
	})
}

// A5: time never goes back, and goes on while the database is behind.
func TestStoreClock(t *testing.T) {
	t.Parallel()
	local := storetest.NewClock()
	c := storeClock{clock: local}
	start := local.Now()
	at := func(db time.Duration) time.Duration { return c.at(start.Add(db)).Sub(start) }
	for _, step := range []struct{ pass, db, want time.Duration }{
		{0, 0, 0},
		{time.Second, 3 * time.Second, 3 * time.Second}, // the database's clock counts
		{time.Second, -time.Hour, 3500 * time.Millisecond},
		{time.Second, -time.Hour, 4 * time.Second},
		{-time.Hour, -time.Hour, 4 * time.Second},
		{time.Second, 5 * time.Second, 5 * time.Second}, // it has caught up
	} {
		local.Advance(step.pass)
		if got := at(step.db); got != step.want {
			t.Errorf("%s later the database says %s: %s, want %s", step.pass, step.db, got, step.want)
		}
	}
}

// A6: what an error means for its batch.
func TestFates(t *testing.T) {
	t.Parallel()
	pg := func(code string) error { return fmt.Errorf("commit: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		err  error
		want fate
		away bool // the caller is told that the store is what is missing
	}{
		{pg("40001"), again, true},
		{pg("40P01"), again, true},
		{pg("23505"), again, true},
		{pg("57P01"), again, true},
		{pg("08006"), again, true},
		{broken(errors.New("reset by peer")), again, true},
		{errIdentity, again, true},
		{broken(&pgconn.PgError{Code: "25006"}), refuse, true},
		{pg("42501"), refuse, true},
		{pg("57014"), refuse, true},
		{pg("22021"), narrow, false},
		{pg("53100"), narrow, true},
		{errors.New("panic"), narrow, false},
	} {
		if got := fateOf(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
		err := unavailable(c.err)
		if got := errors.Is(err, store.ErrUnavailable); got != c.away || fateOf(err) != c.want {
			t.Errorf("%v: the store is said to be away: %v, want %v; as such its fate is %d", c.err, got, c.away, fateOf(err))
		}
	}
	for _, severity := range []string{"FATAL", "PANIC"} {
		if certain(&pgconn.PgError{Code: "57P01", SeverityUnlocalized: severity}) {
			t.Errorf("%s counts as an answer to COMMIT", severity)
		}
	}
}

// The password is in no error of a connection string.
func TestAnErrorHidesThePassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"postgres://u:hunter2@h:port/db", "postgres://u:hunter2@h/db?sslmode=nonsense", "host=h password=hunter2 port=x",
		"postgres://u:hunter2@[::1/db", "postgres://u:hunter2 x@h/db\x7f",
	} {
		if _, err := parse(secret.New(url), Config{}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
}
