//go:build fault

package database

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/testkit"
)

// brief is the time for one rotation in these tests: whoever dies holds the
// account for one and a half times as long.
const brief = 400 * time.Millisecond

// mortal is the store as a process sees it that is killed at one of its calls:
// before the store hears of it, or after the commit and before the answer.
type mortal struct {
	Store
	at    int
	heard bool

	mu    sync.Mutex
	calls int
}

var errKilled = errors.New("the process was killed")

// call makes a call of the process while it lives.
func call[A any](m *mortal, do func() (A, error)) (a A, err error) {
	m.mu.Lock()
	m.calls++
	n := m.calls
	m.mu.Unlock()
	switch {
	case n < m.at:
		return do()
	case n == m.at && m.heard:
		_, _ = do()
	}
	return a, errKilled
}

func (m *mortal) survived() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls < m.at
}

func (m *mortal) Entry(ctx context.Context, kind store.Kind, key string) (store.Entry, error) {
	return call(m, func() (store.Entry, error) { return m.Store.Entry(ctx, kind, key) })
}

func (m *mortal) EntryByID(ctx context.Context, kind store.Kind, id string) (store.Entry, error) {
	return call(m, func() (store.Entry, error) { return m.Store.EntryByID(ctx, kind, id) })
}

func (m *mortal) List(ctx context.Context, kind store.Kind, prefix, after string, withdrawn bool, limit int) ([]store.Entry, error) {
	return call(m, func() ([]store.Entry, error) { return m.Store.List(ctx, kind, prefix, after, withdrawn, limit) })
}

func (m *mortal) Write(ctx context.Context, w store.Write) ([]store.Entry, error) {
	return call(m, func() ([]store.Entry, error) { return m.Store.Write(ctx, w) })
}

func (m *mortal) Acquire(ctx context.Context, name, owner string, ttl time.Duration) (l store.Lock, ok bool, err error) {
	l, err = call(m, func() (l store.Lock, err error) { l, ok, err = m.Store.Acquire(ctx, name, owner, ttl); return l, err })
	return l, ok && err == nil, err
}

func (m *mortal) Release(ctx context.Context, l store.Lock) error {
	_, err := call(m, func() (struct{}, error) { return struct{}{}, m.Store.Release(ctx, l) })
	return err
}

func (m *mortal) Now(ctx context.Context) (time.Time, error) {
	return call(m, func() (time.Time, error) { return m.Store.Now(ctx) })
}

// servedNow asks a process for the password: it works, or it is not given.
func (k *keeping) servedNow(when string) (string, bool) {
	k.tb.Helper()
	r, err := k.ask(engine.Read, "static-creds/app", nil)
	if err != nil {
		return "", false
	}
	password, _ := r.Data["password"].(string)
	if !k.takes(password) {
		k.tb.Fatalf("%s: the password that is served does not work", when)
	}
	return password, true
}

// settles lets another process do the revoker's work until the role is served and
// nothing is due or open; what is served meanwhile works.
func (k *keeping) settles(when string) string {
	k.tb.Helper()
	var last error
	for end := time.Now().Add(soon); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		_, last = k.run(0)
		password, ok := k.servedNow(when)
		now, err := k.fake.Now(k.tb.Context())
		if err != nil {
			k.tb.Fatal(err)
		}
		due, err := k.Rotations(k.tb.Context(), now)
		if s := k.static(); err == nil && ok && len(due) == 0 && len(s.Pending) == 0 && s.Failure.Attempts == 0 {
			return password
		}
	}
	k.tb.Fatalf("%s: the role does not come to rest: %v", when, last)
	return ""
}

// bare is a site without role, reached past the proxy by all but who is killed.
func bare(t *testing.T) *keeping {
	t.Helper()
	k := newKeeping(t, testkit.SharedPostgres(t).CreateAdmin(t, testkit.CreateRoleAdmin))
	return k
}

// B11: a process that is killed at any call of the store, whether that was
// carried out or not, leaves the password that is served in force; the next one
// ends what it began, and exactly once.
func TestStaticRotationKilledAtEachCallOfTheStore(t *testing.T) {
	t.Parallel()
	for _, heard := range []bool{false, true} {
		t.Run(fmt.Sprintf("heard %t", heard), func(t *testing.T) {
			t.Parallel()
			k := bare(t)
			k.must(engine.Write, "static-roles/app", k.role())
			survivor := k.process(k.fake, brief)
			var steps int
			for at := 1; ; at++ {
				when := fmt.Sprintf("killed at call %d", at)
				before := survivor.settles(when)
				rotations := k.count(event.AccountRotated)
				k.age(time.Hour)
				m := &mortal{Store: k.fake, at: at, heard: heard}
				victim := k.process(m, brief)
				due := engine.Rotation{ID: k.static().ID}
				_, err := victim.Rotate(t.Context(), due, nil)
				if m.survived() {
					if err != nil {
						t.Fatal(err)
					}
					steps = at - 1
					break
				}
				survivor.servedNow(when) // at once, with whatever is left over
				after := survivor.settles(when)
				if after == before {
					t.Fatalf("%s: the rotation was lost", when)
				}
				if k.takes(before) {
					t.Fatalf("%s: the old password works", when)
				}
				if n := k.count(event.AccountRotated) - rotations; n != 1 {
					t.Fatalf("%s: %d rotations on record of one due time", when, n)
				}
			}
			t.Logf("%d calls of the store", steps)
			if steps < 10 {
				t.Errorf("a rotation has %d calls: not all were met", steps)
			}
		})
	}
}

// The same for the first rotation of a role that is being written: the role is
// there and comes to rest, or it is not and can be written again.
func TestStaticRoleKilledWhileItIsMade(t *testing.T) {
	t.Parallel()
	for _, heard := range []bool{false, true} {
		t.Run(fmt.Sprintf("heard %t", heard), func(t *testing.T) {
			t.Parallel()
			k := bare(t)
			survivor := k.process(k.fake, brief)
			left := 0
			for at := 1; ; at++ {
				when := fmt.Sprintf("killed at call %d", at)
				m := &mortal{Store: k.fake, at: at, heard: heard}
				_, err := k.process(m, brief).ask(engine.Write, "static-roles/app", k.role())
				if m.survived() {
					if err != nil {
						t.Fatal(err)
					}
					break
				}
				if s, err := k.staticByName(t.Context(), mountID, "app"); err != nil {
					t.Fatal(err)
				} else if s != nil {
					left++
					survivor.servedNow(when)
					survivor.settles(when)
					survivor.must(engine.Delete, "static-roles/app", nil)
				}
			}
			if left == 0 {
				t.Error("no kill left a role")
			}
			survivor.settles("at the end")
		})
	}
}

// The lost answer of each message to the target, and the loss of each message: of
// logins, looks and the change itself. The process lives on; or the target is away
// from then on.
func TestStaticRotationCutAtEachMessage(t *testing.T) {
	t.Parallel()
	for _, heard := range []bool{false, true} {
		for _, dead := range []bool{false, true} {
			t.Run(fmt.Sprintf("heard %t dead %t", heard, dead), func(t *testing.T) {
				t.Parallel()
				k := bare(t)
				k.must(engine.Write, "static-roles/app", k.role())
				var messages int
				for at := int64(1); ; at++ {
					when := fmt.Sprintf("cut at message %d", at)
					before := k.settles(when)
					rotations := k.count(event.AccountRotated)
					k.age(time.Hour)
					through := newProxy(t, fmt.Sprintf("%s:%d", k.admin.Cluster().Host(), k.admin.Cluster().Port()))
					through.cutAt, through.heard, through.dead = at, heard, dead
					victim := k.by(through)
					_, err := victim.Rotate(t.Context(), engine.Rotation{ID: k.static().ID}, nil)
					if through.sent.Load() < at {
						if err != nil {
							t.Fatal(err)
						}
						messages = int(at) - 1
						break
					}
					// Also who hears the target no better gives no wrong password.
					victim.servedNow(when)
					k.servedNow(when)
					if k.settles(when) == before {
						t.Fatalf("%s: the rotation was lost", when)
					}
					if n := k.count(event.AccountRotated) - rotations; n != 1 {
						t.Fatalf("%s: %d rotations on record of one due time", when, n)
					}
				}
				t.Logf("%d messages to the target", messages)
				if messages < 8 {
					t.Errorf("a rotation has %d messages: not all were met", messages)
				}
			})
		}
	}
}

// by is another process that reaches the server by a proxy of its own: it knows
// the connection with another address, by a store that says so.
func (k *keeping) by(p *proxy) *keeping {
	return k.process(&elsewhere{k.fake, k.proxy.addr(), p.addr()}, 2*time.Second)
}

// Of two processes that rotate one after the other none overtakes the other: what
// the first one sent does not arrive after its end (B1).
func TestStaticRotationIsRefusedAfterItsEnd(t *testing.T) {
	t.Parallel()
	k := bare(t)
	k.must(engine.Write, "static-roles/app", k.role())
	conn := testkit.Connect(t, k.admin.Cluster().AdminURL("postgres"))
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The row of the account is held for longer than the rotation may take.
	if _, err := tx.Exec(t.Context(), fmt.Sprintf(`ALTER ROLE %q CONNECTION LIMIT 7`, k.account)); err != nil {
		t.Fatal(err)
	}
	before, slow := k.served(), k.process(k.fake, brief)
	_, err = slow.ask(engine.Write, "rotate-role/app", nil)
	if err == nil {
		t.Fatal("a rotation was reported as done while its account was locked")
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, ok := k.servedNow("after the lock"); !ok || got != before {
		t.Error("the rotation arrived after its end")
	}
	k.settles("after the lock")
}

// A change that the network kept back until the attempt had ended is refused by the
// target's own clock (B1): others may have rotated since.
func TestStaticRotationThatArrivesLateIsRefused(t *testing.T) {
	t.Parallel()
	k := bare(t)
	k.must(engine.Write, "static-roles/app", k.role())
	before := k.served()
	through := newProxy(t, fmt.Sprintf("%s:%d", k.admin.Cluster().Host(), k.admin.Cluster().Port()))
	through.hold, through.holds = make(chan struct{}), "the end of the rotation"
	release := sync.OnceFunc(func() { close(through.hold) })
	defer release()
	if _, err := k.by(through).ask(engine.Write, "rotate-role/app", nil); err == nil || !through.held.Load() {
		t.Fatalf("the change was not kept back: %v", err)
	}
	_, pending, err := k.staticPasswords(&k.static().staticRole)
	if err != nil || pending.Empty() {
		t.Fatalf("nothing is pending: %v", err)
	}
	through.answered.Store(false)
	release()
	await(t, "the server answers what was kept back", through.answered.Load)
	if k.takes(pending.Reveal()) || !k.takes(before) {
		t.Error("a change arrived after its end")
	}
	if k.settles("afterwards") != pending.Reveal() {
		t.Error("the pending password was not taken up again")
	}
}

// A refusal says nothing about what an earlier attempt did: the password that was
// left over then is kept, and found to be the one in force.
func TestStaticRotationRefusedAfterOneThatBrokeOff(t *testing.T) {
	t.Parallel()
	k := bare(t)
	k.must(engine.Write, "static-roles/app", k.role())
	before := k.served()
	pending, _, err := k.pendStatic(t.Context(), k.static().ID, &k.stored("db").connection, rotation{by: lease.Actor{Name: "died"}})
	if err != nil {
		t.Fatal(err)
	}
	cluster := k.admin.Cluster()
	cluster.Exec(t, "postgres", fmt.Sprintf(`ALTER ROLE %q PASSWORD '%s'`, k.account, pending.Reveal()))
	k.must(engine.Write, "static-roles/app", map[string]any{
		"rotation_statements": `ALTER ROLE "{{name}}" PASSWORD '{{password}}'; GRANT no_such TO "{{name}}"`,
	})
	k.refused(engine.Refused, engine.Write, "rotate-role/app", nil, "retries will continue in the background", "42704")
	if got := k.served(); got == before || got != pending.Reveal() {
		t.Error("the password in force was lost")
	}
	if n := k.count(event.AccountRotated); n != 2 {
		t.Errorf("%d rotations on record, want 2", n)
	}
}

// A password that somebody else changed is never served as if it worked once a
// rotation has noticed, and the next rotation mends it.
func TestStaticRoleChangedByOthers(t *testing.T) {
	t.Parallel()
	k := bare(t)
	k.must(engine.Write, "static-roles/app", k.role())
	id := k.static().ID
	pending, _, err := k.pendStatic(t.Context(), id, &k.stored("db").connection, rotation{by: lease.Actor{Name: "died"}})
	if err != nil {
		t.Fatal(err)
	}
	k.admin.Cluster().Exec(t, "postgres", fmt.Sprintf(`ALTER ROLE %q PASSWORD 'other'`, k.account))
	k.refused(engine.Conflict, engine.Read, "static-creds/app", nil, "neither the current nor the new one")
	k.must(engine.Write, "rotate-role/app", nil)
	if k.served() != pending.Reveal() {
		t.Error("the rotation made another password instead of carrying on")
	}
}
