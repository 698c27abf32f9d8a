//go:build e2e

package fleet

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"

	"github.com/curfew-project/curfew/services/internal/topology"
)

// TestFailover ends the store of a fleet for good and promotes its standby. Each
// of its fleets is of use once.
func TestFailover(t *testing.T) {
	if os.Getenv(fleetVariable) == "" {
		t.Skipf("it takes minutes and the whole machine: set %s=1, or make fleet", fleetVariable)
	}
	for name, run := range map[string]func(*testing.T, *fleet){
		"synchronous": toSynchronous, "stale": toStale, "stale without auditors": toStaleAlone, "stale intent": toStaleIntent,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, openWith(t, topology.Config{Standby: true, Settings: `expiry { stray_sweep = "500ms" }`}))
		})
	}
}

// toSynchronous kills the store under load and promotes its synchronous standby:
// nothing that was answered is lost, no epoch begins, nobody is in doubt, and
// clients recover by themselves (A7).
func toSynchronous(t *testing.T, f *fleet) {
	t.Helper()
	l := f.load(t, clients)
	l.more(t, 300)
	f.kill(t, topology.Store)
	killed := time.Now()
	must(t, f.Promote(t.Context()), "promote the standby")
	promoted := time.Since(killed)
	l.more(t, 1)
	t.Logf("the standby was promoted after %v; a client was served after %v",
		promoted.Round(time.Millisecond), time.Since(killed).Round(time.Millisecond))
	l.more(t, 300)
	l.stop(t)
	f.check(t)
	i := f.installation(t)
	if i.Suspended || len(i.Recoveries) > 0 || i.Sweeping != "acting" || len(i.reported()) > 0 {
		t.Errorf("after a failover that lost nothing: %+v", i)
	}
	for _, kind := range []string{"store.suspended", "store.resumed"} {
		if n := f.told(t, kind); n != 1 {
			t.Errorf("%s is on record %d times, want once: was the promotion found out?", kind, n)
		}
	}
	f.all(t)
}

// toStale kills the store under load and promotes a copy that has stood still:
// issuing stops, an epoch begins, what is on record is brought back and what is
// lost is named. No lease ends by what the copy takes for its expiry (A7).
func toStale(t *testing.T, f *fleet) {
	t.Helper()
	s := newStale(t, f)
	time.Sleep(time.Until(s.ends)) // the copy takes it for overdue from the first moment
	l := f.load(t, clients)
	l.more(t, 100)
	f.kill(t, topology.Store)
	must(t, f.Promote(t.Context()), "promote the standby")
	s.refuses(t)
	l.more(t, 100)
	l.stop(t)
	s.recovered(t)
	s.last(t)
	f.record.lawful(t)
	f.target.logins(t, f.book.holds())
	f.verify(t)
}

// toStaleAlone does so while nobody is there to bring anything back, and after
// a lease was issued that nothing has on record.
func toStaleAlone(t *testing.T, f *fleet) {
	t.Helper()
	s := newStale(t, f)
	f.kill(t, slices.Concat(f.named("auditor-"), f.streams())...)
	s.unknown = append(s.unknown, f.hold(t, s.client))
	f.kill(t, topology.Store)
	must(t, f.Promote(t.Context()), "promote the standby")
	for _, name := range f.streams() {
		must(t, f.part(t, name).Start(t.Context()), "start "+name)
	}
	s.suspended(t)
	f.start(t)
	s.recovered(t)
	l := f.load(t, clients)
	l.more(t, 100)
	l.stop(t)
	s.confirmed(t)
	f.check(t)
	f.all(t)
}

// toStaleIntent promotes a copy that has but the intent of a credential that a
// client was given: neither ledger nor stream heard of its confirmation. It works
// until somebody revokes it (A7).
func toStaleIntent(t *testing.T, f *fleet) {
	t.Helper()
	s := &stale{fleet: f, client: f.hasty(t)}
	must(t, f.target.role(s.client, "granted", time.Hour, `GRANT SELECT ON items TO "{{name}}";`), "write role granted")
	f.check(t)
	cred := s.unheard(t)
	f.kill(t, topology.Store)
	must(t, f.Promote(t.Context()), "promote the standby")
	f.start(t)
	f.record.rewound = true
	eventually(t, "the store recovers", func() error {
		if i := f.installation(t); i.Suspended || len(i.Recoveries) == 0 {
			return fmt.Errorf("it has not: %+v", i)
		}
		return nil
	})
	if begun := s.last(t); !slices.Contains(begun, cred) {
		t.Errorf("only the intent of %s is known: the test is of no use without it; such are %v", cred.lease, len(begun))
	}
	f.target.logins(t, f.book.holds())
	f.release(t, f.client(t), cred, true)
	f.check(t)
	f.all(t)
}

// unheard issues a credential while its creation is held up: the copy and the
// record have its intent, its confirmation nobody has but the store and a client.
func (s *stale) unheard(t *testing.T) (cred credential) {
	t.Helper()
	release := s.holdUp(t)
	var err error
	var waiting sync.WaitGroup
	waiting.Go(func() { cred, err = issue(t.Context(), s.client, "granted") })
	s.awaitCreations(t, 1)
	must(t, s.CutOff(t.Context()), "cut the standby off")
	s.kill(t, slices.Concat(s.named("auditor-"), s.streams())...)
	release()
	waiting.Wait()
	must(t, err, "issue")
	s.book.note(func() { s.book.held[cred.user] = cred })
	return cred
}

// stale is what was done before and after the standby stood still.
type stale struct {
	*fleet
	client *vault.Client

	kept    credential // prolonged since
	ends    time.Time  // when kept ends by the copy
	asked   credential // to be revoked while the store is suspended
	over    []credential
	later   []credential // issued since
	unknown []credential // issued since, and on no record

	earlierToken, laterToken string
	accessor                 string // of the later one
}

// newStale lives until the standby lacks what is on record.
func newStale(t *testing.T, f *fleet) *stale {
	t.Helper()
	s := &stale{fleet: f, client: f.client(t)}
	s.before(t)
	must(t, f.CutOff(t.Context()), "cut the standby off")
	s.since(t)
	return s
}

// before is what the standby has.
func (s *stale) before(t *testing.T) {
	t.Helper()
	l := s.load(t, clients)
	l.more(t, 200)
	l.stop(t)
	s.check(t)
	s.earlierToken, _ = s.token(t)
	s.over = append(s.over, s.hold(t, s.client))
	s.asked, s.kept = s.hold(t, s.client), s.hold(t, s.client)
	const soon = 45 * time.Second
	renew(t, s.client, s.kept, soon)
	_, s.ends = s.lookup(t, s.kept)
	if left := time.Until(s.ends); left > soon {
		t.Fatalf("the lease that is to be prolonged has %v left", left)
	}
}

// since is what the standby does not have, and the record has.
func (s *stale) since(t *testing.T) {
	t.Helper()
	renew(t, s.client, s.kept, 2*time.Hour)
	if left := time.Until(s.ends); left < time.Second {
		t.Fatalf("the lease was prolonged %v before its end: too late to be of use", left)
	}
	s.release(t, s.client, s.over[0], true)
	s.laterToken, s.accessor = s.token(t)
	must(t, s.target.role(s.client, "since", time.Hour), "write role since")
	had := maps.Clone(s.book.held)
	l := s.load(t, clients)
	l.more(t, 200)
	l.stop(t)
	s.check(t)
	for user, cred := range s.book.held {
		if _, before := had[user]; !before {
			s.later = append(s.later, cred)
		}
	}
	if len(s.later) == 0 {
		t.Fatal("no lease was issued since")
	}
}

// refuses watches issuing until it is served again.
func (s *stale) refuses(t *testing.T) {
	t.Helper()
	promoted, hasty, n := time.Now(), s.hasty(t), 0
	eventually(t, "issuing is served", func() error {
		cred, err := issue(t.Context(), hasty, "app")
		switch {
		case err == nil:
			s.book.note(func() { s.book.held[cred.user] = cred })
		case refused(err):
			n++
		}
		return err
	})
	t.Logf("issuing was served %v after the promotion, and refused %d times before", time.Since(promoted).Round(time.Millisecond), n)
}

// suspended: with no auditor the store stays suspended for as long as this looks
// at it. Nothing is issued, renewed or expired, revocations by request go on.
func (s *stale) suspended(t *testing.T) {
	t.Helper()
	promoted := time.Now()
	hasty := s.hasty(t)
	eventually(t, "issuing is refused", func() error {
		_, err := issue(t.Context(), hasty, "app")
		if !refused(err) {
			return fmt.Errorf("it is answered by %w", err)
		}
		return nil
	})
	t.Logf("issuing was refused %v after the promotion", time.Since(promoted).Round(time.Millisecond))
	for _, name := range s.named("issuer-", "revoker-") {
		eventually(t, name+" knows that the store is suspended", func() error {
			m, err := s.metrics(t, name)
			if err == nil && m["curfew_store_suspended"] != 1 {
				err = errors.New("it does not say so")
			}
			return err
		})
	}
	for range 2 * len(s.named("issuer-")) {
		if _, err := issue(t.Context(), hasty, "app"); !refused(err) {
			t.Errorf("issuing is answered by %v, want a refusal", err)
		}
		if _, err := hasty.Auth().Token().Create(&vault.TokenCreateRequest{TTL: "1h"}); !refused(err) {
			t.Errorf("making a token is answered by %v, want a refusal", err)
		}
		if _, err := hasty.Sys().Renew(s.kept.lease, 3600); !refused(err) {
			t.Errorf("renewing is answered by %v, want a refusal", err)
		}
	}
	s.release(t, s.client, s.asked, true)
	s.over = append(s.over, s.asked)
	s.gone(t, s.over)
	if i := s.installation(t); !i.Suspended || i.Sweeping != "reporting" {
		t.Errorf("with nobody to recover the store: %+v", i)
	}

	time.Sleep(time.Until(s.ends)) // the copy takes it for overdue now
	eventually(t, "a revoker finds the lease overdue", func() error {
		for _, name := range s.named("revoker-") {
			if program, ok := s.part(t, name).(*topology.Program); ok {
				text, err := os.ReadFile(program.Log())
				if err != nil || strings.Contains(string(text), "leases that are due wait") {
					return err
				}
			}
		}
		return errors.New("none says so")
	})
	s.target.logins(t, s.book.holds())
}

// recovered: an auditor was there, and the store goes on in another epoch.
func (s *stale) recovered(t *testing.T) {
	t.Helper()
	s.record.rewound = true
	var i installation
	took := eventually(t, "the store recovers", func() error {
		if i = s.installation(t); i.Suspended || len(i.Recoveries) == 0 {
			return fmt.Errorf("it has not: %+v", i)
		}
		return nil
	})
	r := i.Recoveries[0]
	t.Logf("recovered %v after everything was ready: %d returned, %d prolonged, %d revoked, %d lost",
		took.Round(time.Millisecond), r.Returned, r.Prolonged, r.Revoked, len(r.Lost))
	if r.Epoch != 2 || r.Returned < len(s.later) || r.Prolonged == 0 || r.Revoked == 0 {
		t.Errorf("%d leases were issued since, one was prolonged and one revoked; recoveries are %+v", len(s.later), i.Recoveries)
	}
	if !r.lost("token", s.accessor) || !r.lost("configuration", "roles/since") {
		t.Errorf("token %s and role since are not both named as lost: %+v", s.accessor, r.Lost)
	}

	s.target.logins(t, s.book.holds())
	if status, ends := s.lookup(t, s.kept); status != http.StatusOK || time.Until(ends) < time.Hour {
		t.Errorf("the prolonged lease is looked up with %d and ends at %v", status, ends)
	}
	for _, cred := range s.later {
		if status, _ := s.lookup(t, cred); status != http.StatusOK {
			t.Errorf("looking up %s, which was issued since, is answered with %d", cred.lease, status)
		}
	}
	s.gone(t, s.over)
	for _, cred := range slices.Concat(s.over, s.unknown) {
		eventually(t, "what has ended is known to have ended", func() error {
			if status, _ := s.lookup(t, cred); status != http.StatusBadRequest {
				return fmt.Errorf("looking up %s is answered with %d", cred.lease, status)
			}
			return nil
		})
	}
	for token, want := range map[string]int{s.earlierToken: http.StatusOK, s.laterToken: http.StatusForbidden} {
		c := s.hasty(t)
		c.SetToken(token)
		if _, err := c.Auth().Token().LookupSelf(); status(err) != want {
			t.Errorf("a token looks itself up: %v, want %d", err, want)
		}
	}
	role, err := s.client.Logical().Read("database/roles/since")
	must(t, err, "read role since")
	if role != nil {
		t.Error("the role that is named as lost is there")
	}
}

// last is about the last answers before the store ended, of which neither ledger
// nor stream may have anything. A credential that a client holds has a lease, of
// which perhaps only the intent is known, or is reported. That intent was restored
// and is not rolled back when its creation's grace is over. A revocation can be
// forgotten: no one can name it. It returns the credentials that have but an
// intent.
func (s *stale) last(t *testing.T) []credential {
	t.Helper()
	begun := s.begun(t)
	var over time.Time
	for _, cred := range begun {
		if at := (*s.record.leases[cred.lease])[0].Time.Add(creationGrace); at.After(over) {
			over = at
		}
	}
	time.Sleep(time.Until(over))
	must(t, s.read(t), "read the record")
	for _, cred := range begun {
		if h := s.record.leases[cred.lease]; h.state() != "intent" {
			t.Errorf("%s is held, and was taken away early: %s", cred.lease, h.types())
		}
	}
	return begun
}

// creationGrace is more than an intent has until it is rolled back, with what a
// busy revoker needs to begin.
const creationGrace = 30 * time.Second

// begun waits until each credential that is held has a lease, or an intent that
// was restored, or is reported. It returns those that have but an intent.
func (s *stale) begun(t *testing.T) (begun []credential) {
	t.Helper()
	eventually(t, "each credential has a lease or is reported", func() error {
		if err := s.read(t); err != nil {
			return err
		}
		active, open := s.record.active()
		reported := s.installation(t).reported()
		begun = nil
		unknown, again := 0, 0
		for user, cred := range s.book.held {
			switch h := s.record.leases[cred.lease]; {
			case active[user] == cred.lease:
			case h != nil && h.state() == "intent" && h.last().Type == restored:
				begun = append(begun, cred)
			case slices.Contains(reported, user):
				unknown++
			default:
				return fmt.Errorf("%s has no lease, no intent that was restored, and is not reported", cred.user)
			}
		}
		for user := range s.book.ended {
			if _, live := active[user]; live {
				again++
			}
		}
		t.Logf("of credentials that are held %d have but an intent and %d no lease; %d leases are active again that had been revoked, %d are open",
			len(begun), unknown, again, len(open))
		return nil
	})
	return begun
}

// confirmed: sweeps only report what no lease stands for, until a person has
// said that they may act (B3).
func (s *stale) confirmed(t *testing.T) {
	t.Helper()
	strays := slices.Clone(s.unknown)
	for range 3 { // each is seen by a later round
		stray := s.stray(t, s.client)
		strays = append(strays, stray)
		eventually(t, "accounts without a lease are reported", func() error {
			reported := s.installation(t).reported()
			for _, cred := range strays {
				if !slices.Contains(reported, cred.user) {
					return fmt.Errorf("%s is not among %q", cred.user, reported)
				}
			}
			return nil
		})
	}
	s.target.logins(t, s.book.holds())
	there := s.target.accounts(t)
	for _, cred := range strays {
		if !there[cred.user] {
			t.Errorf("%s was taken away before anybody confirmed", cred.user)
		}
	}
	out := strings.Join(strings.Fields(s.run(t, "operator", "installation")), " ") // it breaks lines
	if !strings.Contains(out, "Epoch 2 began") || !strings.Contains(out, s.accessor) {
		t.Errorf("operator installation says:\n%s", out)
	}
	s.record.strays = map[string]bool{}
	for _, user := range s.installation(t).reported() {
		s.record.strays[user] = true
	}
	for _, cred := range s.unknown {
		delete(s.book.held, cred.user)
	}
	s.run(t, "operator", "confirm")
	s.gone(t, strays)
	if i := s.installation(t); i.Sweeping != "acting" {
		t.Errorf("after the confirmation: %+v", i)
	}
}
