//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/testkit"
)

// rolledBackWithin is the promise: after a restart, an account of which no
// client was told is gone.
const rolledBackWithin = 30 * time.Second

// TestKilledInCreation kills the server while the target holds a creation up.
// The account then comes to be after the death of the server, or never; either
// way it is gone in time (B1).
func TestKilledInCreation(t *testing.T) {
	t.Parallel()
	for name, late := range map[string]bool{"creation goes on before the restart": false, "creation goes on after the restart": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCurfew(t)
			target := articleTarget(t, testkit.CreateRoleAdmin) // its catalogue is locked
			c := newBao(t, s)
			target.setUp(t, c, "database", "1h", "24h")
			held := issue(t, c, "database/creds/app")

			// A grant that is not committed holds up the next one on the table.
			lock := target.super(t, target.database)
			defer closeConn(lock)
			exec := func(sql string) {
				_, err := lock.Exec(t.Context(), sql)
				must(t, err, sql)
			}
			exec("BEGIN")
			exec("GRANT SELECT ON items TO PUBLIC")
			answered := make(chan error, 1)
			go func() {
				_, err := c.read("database/creds/app")
				answered <- err
			}()
			eventually(t, hang, func() error {
				if n := target.count(t, "SELECT count(*) FROM pg_stat_activity WHERE usename = 'vault_admin' AND wait_event_type = 'Lock'"); n == 0 {
					return fmt.Errorf("the creation does not wait")
				}
				return nil
			})
			s.kill(t)
			if err := <-answered; err == nil {
				t.Error("a killed server answered")
			}
			if !late {
				exec("ROLLBACK")
			}
			s.start(t)
			if late {
				exec("ROLLBACK")
			}
			only(t, target, "v-root-app-", rolledBackWithin, held.user)
			fsckClean(t, s, rolledBackWithin)
			if !target.works(t, held) {
				t.Error("a credential that a client holds was taken away")
			}
			must(t, c.revoke(held.lease, true), "revoke")
		})
	}
}

// only waits until the accounts with a prefix are exactly these.
func only(tb testing.TB, target *target, prefix string, within time.Duration, users ...string) {
	tb.Helper()
	slices.Sort(users)
	began := time.Now()
	eventually(tb, within, func() error {
		if got := target.accounts(tb, prefix); !slices.Equal(got, users) {
			return fmt.Errorf("accounts:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(users, "\n  "))
		}
		return nil
	})
	tb.Logf("%d accounts are left, as they should be, after %v", len(users), time.Since(began).Round(time.Millisecond))
}

// held are the credentials of the clients of one server.
type held struct {
	mu      sync.Mutex
	creds   map[string]credential // by user; the client was told that they live for an hour
	unclear map[string]bool       // users that were asked about when the server died
}

// TestKilledAtRandom kills servers under load at random instants. Clients renew
// what they get, as agents do; some give back what they have. After each
// restart an account exists if and only if a client was told that it does: what
// was not answered is rolled back or, where the answer was lost at the very
// end, runs out with its first short time to live (issuing, failure table).
func TestKilledAtRandom(t *testing.T) {
	t.Parallel()
	rounds := 12
	if text := os.Getenv("CURFEW_E2E_KILLS"); text != "" {
		var err error
		rounds, err = strconv.Atoi(text)
		must(t, err, "read CURFEW_E2E_KILLS")
	}
	const servers = 3
	for n := range servers {
		t.Run(fmt.Sprint("server ", n+1), func(t *testing.T) {
			t.Parallel()
			s := newCurfew(t)
			target := articleTarget(t, testkit.AdminKinds()[n%2])
			c := newVault(t, s)
			target.setUp(t, c, "database", "3s", "24h")
			h := &held{creds: map[string]credential{}, unclear: map[string]bool{}}
			for round := range (rounds + servers - 1) / servers {
				after := 20*time.Millisecond + rand.N(500*time.Millisecond)
				h.round(t, s, c, after)
				s.start(t)
				t.Logf("round %d: killed after %v; clients hold %d credentials", round+1, after, len(h.creds))
				h.check(t, s, target)
			}
			h.finish(t, s, target, c)
		})
	}
}

// round loads the server and kills it.
func (h *held) round(t *testing.T, s *curfew, c client, after time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for range 6 {
		clients.Go(func() {
			for ctx.Err() == nil {
				if !h.one(c) {
					return
				}
			}
		})
	}
	time.Sleep(after) // any instant will do
	s.kill(t)
	cancel()
	clients.Wait()
}

// one is the life of one credential, until the server dies.
func (h *held) one(c client) bool {
	a, err := c.read("database/creds/app")
	if err != nil {
		return statusOf(err) == 503 // nobody was told of an account
	}
	cred := credentialOf(a)
	h.note(func() { h.unclear[cred.user] = true })
	if _, err := c.renew(cred.lease, 3600); err != nil {
		return false // either way may be true
	}
	h.note(func() { h.creds[cred.user] = cred; delete(h.unclear, cred.user) })
	if rand.IntN(3) > 0 {
		return true
	}
	h.note(func() { h.unclear[cred.user] = true; delete(h.creds, cred.user) })
	if err := c.revoke(cred.lease, rand.IntN(2) == 0); err != nil {
		return false
	}
	h.note(func() { delete(h.unclear, cred.user) }) // it was promised to go
	return true
}

func (h *held) note(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// check: what clients hold works at once and stays; nothing else stays.
func (h *held) check(t *testing.T, s *curfew, target *target) {
	t.Helper()
	for _, cred := range h.creds {
		if !target.works(t, cred) {
			t.Errorf("%s does not work after the restart, though a client holds it", cred.user)
		}
		break // one stands for all; all are looked for below
	}
	began := time.Now()
	eventually(t, rolledBackWithin, func() error {
		var extra []string
		for _, user := range target.accounts(t, "v-root-app-") {
			if _, ok := h.creds[user]; !ok && !h.unclear[user] {
				extra = append(extra, user)
			}
		}
		if len(extra) > 0 {
			return fmt.Errorf("accounts that no client was told of: %v", extra)
		}
		return nil
	})
	t.Logf("nothing else is left after %v", time.Since(began).Round(time.Millisecond))
	fsckClean(t, s, rolledBackWithin)
	there := target.accounts(t, "v-root-app-")
	for user := range h.creds {
		if !slices.Contains(there, user) {
			t.Errorf("account %s is gone, though a client holds it", user)
		}
	}
}

// finish: the record of every lease is complete and its ledger intact, and
// everything can be taken back.
func (h *held) finish(t *testing.T, s *curfew, target *target, c client) {
	t.Helper()
	must(t, c.revokePrefix("database", true), "revoke everything")
	only(t, target, "v-root-app-", hang)
	for _, cred := range h.creds {
		all := s.history(t, cred.lease)
		gapless(t, cred.lease, all)
		for _, e := range all {
			if e.Type == "lease.revoking" && e.Actor != "" && strings.HasPrefix(e.Actor, "system:") {
				t.Errorf("%s was taken away by %s (%s), though a client held it", cred.user, e.Actor, e.Reason)
			}
		}
	}
	verified(t, s)
	fsckClean(t, s, rolledBackWithin)
}
