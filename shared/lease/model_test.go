package lease_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// The model: one lease, its issuer, one renewal, and two workers that a lapsed
// claim lets work on it at the same time. Each of them may be killed between any
// two of its steps, a creation that was sent may reach the target after its
// sender's death, and time may pass at any point. Every reachable state is
// visited; the moves of the lease are those of the package.
//
// Times are whole seconds. Only what the future depends on is part of a state:
// of the version, whether it is the one that the renewal was decided on.

const (
	modelGrace  = 2 // of the creation
	modelTTL    = 3
	modelMargin = 1 // of the target's own expiry (B8)
	modelEnd    = 7 // nothing waits longer
)

// idle, dead: steps of an actor beside the numbered ones.
const (
	idle = 0
	dead = -1
)

// node is a state of the model.
type node struct {
	now    int
	l      lease.Lease
	finals int // final events

	sent    bool // a creation is on its way to the target
	account bool
	login   bool
	until   int // the target's own expiry

	issuer  int
	holds   bool // the client has the credential
	renewer int
	seen    lease.Lease // what the renewal was decided on
	asks    int         // its new expiry
	workers [2]int
}

func modelTime(n int) time.Time { return start().Add(time.Duration(n) * time.Second) }

func offset(t time.Time) int {
	if t.IsZero() {
		return -1
	}
	return int(t.Sub(start()) / time.Second)
}

type nodeKey struct {
	now, finals, until, issuer, renewer, asks int
	workers                                   [2]int
	state                                     lease.State
	confirm, expires, next                    int
	confirmed, current                        bool
	sent, account, login, holds               bool
}

func (n *node) key() nodeKey {
	k := nodeKey{
		now: n.now, finals: n.finals, until: n.until, issuer: n.issuer, renewer: n.renewer, asks: n.asks, workers: n.workers,
		state: n.l.State, confirm: offset(n.l.ConfirmBy), expires: offset(n.l.ExpiresAt), next: offset(n.l.Revocation.NextTryAt),
		confirmed: n.l.Confirmed(), sent: n.sent, account: n.account, login: n.login, holds: n.holds,
	}
	if n.renewer > idle {
		k.current = n.seen.Version == n.l.Version
	}
	return k
}

// rules are the ways in which the model can be broken on purpose.
type rules struct {
	early      bool // the commit of an expiry does not ask the clock (A5)
	noFence    bool // a roll-back does not wait for the creation's deadline (B1)
	twice      bool // what has ended can end again (A1)
	storeFirst bool // a renewal is committed, and its target is not told (B9)
	giveUp     bool // a worker that was killed is not replaced
}

// model explores.
type model struct {
	rules rules
	until string          // it is broken on purpose: this is what is looked for
	bad   map[string]node // first state that breaks a property
}

// apply commits a change; a refusal leaves the state as it was.
func (m *model) apply(n *node, version int64, do lease.Action) error {
	l := n.l
	switch f := do.(type) {
	case lease.Finish:
		if m.rules.twice && l.State.Final() {
			l.State = lease.Revoking
		}
	case lease.Revoke:
		if m.rules.early && l.State == lease.Active {
			f.If = lease.Always
			do = f
		}
	}
	c := lease.Change{ID: "m/r/x", Version: version, Key: "k", Do: do}
	after, err := c.Apply(l, modelTime(n.now))
	if err != nil {
		return err
	}
	if l.State == lease.Active && after.State == lease.Revoking && n.now < offset(l.ExpiresAt) {
		m.fail("a lease is taken away before its time", n)
	}
	if n.l = after; after.State.Final() {
		n.finals++
	}
	return nil
}

func (m *model) fail(what string, n *node) {
	if _, ok := m.bad[what]; !ok {
		m.bad[what] = *n
	}
}

// check says what holds in every state.
func (m *model) check(n *node) {
	now := modelTime(n.now)
	if n.finals > 1 {
		m.fail("a lease ended twice", n)
	}
	if n.l.State.Final() && n.account {
		m.fail("an account is there after its lease has ended", n)
	}
	if n.account && n.l.State == "" {
		m.fail("an account is there before its intent", n)
	}
	if n.holds && n.l.Usable(now) && (!n.account || !n.login || n.now >= n.until) {
		m.fail("a credential does not work before its time", n)
	}
}

// next are the states that one step leads to; the last of them, from killed on,
// by killing somebody.
func (m *model) next(n node) (out []node, killed int) {
	step := func(do func(n *node)) {
		after := n
		do(&after)
		out = append(out, after)
	}
	if n.now < modelEnd {
		step(func(n *node) { n.now++ })
	}
	if n.sent { // the target does it, or the connection is gone
		step(func(n *node) {
			n.sent = false
			if n.now < offset(n.l.CreateDeadline) {
				n.account, n.login, n.until = true, true, n.now+modelTTL+modelMargin
			}
		})
		step(func(n *node) { n.sent = false })
	}
	if n.issuer != dead {
		m.issue(n, step)
	}
	if n.renewer != dead {
		m.renew(n, step)
	}
	for w := range n.workers {
		if n.workers[w] != dead {
			m.work(n, w, step)
		}
	}
	killed = len(out)
	if n.issuer > idle && n.issuer < 4 {
		step(func(n *node) { n.issuer = dead })
	}
	if n.renewer > idle {
		step(func(n *node) { n.renewer = dead })
	}
	for w := range n.workers {
		if n.workers[w] > idle {
			step(func(n *node) {
				if n.workers[w] = idle; m.rules.giveUp { // else its claim lapses, and somebody takes another
					n.workers[w] = dead
				}
			})
		}
	}
	return out, killed
}

// issue is the next step of the issuer: intent, creation, activation, answer.
func (m *model) issue(n node, step func(func(*node))) {
	switch n.issuer {
	case idle:
		if n.now > 0 { // nothing depends on when it begins
			return
		}
		step(func(n *node) {
			l := lease.Lease{Kind: lease.Secret, TTL: modelTTL * time.Second, MaxTTL: 2 * modelTTL * time.Second, Renewable: true}
			if m.apply(n, 0, lease.Begin{Lease: l, Grace: modelGrace * time.Second}) == nil {
				n.issuer = 1
			}
		})
	case 1:
		step(func(n *node) { n.sent, n.issuer = true, 2 })
	case 2:
		if n.account { // it hears that it was done
			step(func(n *node) { n.issuer = 3 })
		}
		step(func(n *node) { // it hears nothing, whatever was done
			n.issuer = dead
			_ = m.apply(n, lease.AnyVersion, lease.Revoke{}) // it may be begun already
		})
	case 3:
		step(func(n *node) {
			n.issuer = dead
			if m.apply(n, lease.AnyVersion, lease.Activate{}) == nil {
				n.issuer = 4
			}
		})
	case 4:
		step(func(n *node) { n.issuer, n.holds = dead, true })
	}
}

// renew is the next step of the renewal: what it is decided on, the target, the
// store, and the target again where it lost (B9).
func (m *model) renew(n node, step func(func(*node))) {
	switch n.renewer {
	case idle:
		if !n.l.Usable(modelTime(n.now)) || !n.holds {
			return
		}
		step(func(n *node) {
			until, _ := n.l.Extension(0, modelTime(n.now))
			n.seen, n.asks, n.renewer = n.l, offset(until), 1
		})
	case 1:
		step(func(n *node) {
			if n.renewer = 2; n.account && !m.rules.storeFirst {
				n.until = n.asks + modelMargin
			}
		})
	case 2:
		step(func(n *node) {
			err := m.apply(n, n.seen.Version, lease.Renew{NotAfter: modelTime(n.asks)})
			n.renewer = dead
			if errors.Is(err, lease.ErrVersion) {
				n.renewer = 3
			}
		})
	case 3:
		step(func(n *node) {
			if n.renewer = dead; n.account && n.l.State == lease.Active {
				n.until = offset(n.l.ExpiresAt) + modelMargin
			}
		})
	}
}

// work is the next step of a worker: the decision, login, account, the end.
func (m *model) work(n node, w int, step func(func(*node))) {
	switch n.workers[w] {
	case idle:
		if at := n.l.DueAt(); at.IsZero() || offset(at) > n.now && !m.rules.early {
			return
		}
		step(func(n *node) {
			err := m.apply(n, lease.AnyVersion, lease.Revoke{If: lease.IfDue})
			if err == nil || errors.Is(err, lease.ErrOver) && n.l.State == lease.Revoking {
				n.workers[w] = 1
			}
		})
	case 1:
		step(func(n *node) { n.login, n.workers[w] = false, 2 })
	case 2:
		step(func(n *node) {
			if wait := offset(n.l.CreateDeadline) - n.now; !n.l.Confirmed() && wait > 0 && !m.rules.noFence {
				n.workers[w] = idle
				_ = m.apply(n, lease.AnyVersion, lease.Progress{After: time.Duration(wait) * time.Second}) // another may have ended it
				return
			}
			n.account, n.login, n.workers[w] = false, false, 3
		})
	case 3:
		step(func(n *node) {
			n.workers[w] = idle
			_ = m.apply(n, lease.AnyVersion, lease.Finish{To: lease.Revoked}) // another may have ended it (C7)
		})
	}
}

// over reports whether nothing is left to do.
func (n *node) over() bool { return n.l.State.Final() && !n.account && !n.sent }

// explore visits every state, and then looks from which of them the end can be
// reached without another kill.
func (m *model) explore() (states int) {
	m.bad = map[string]node{}
	first := node{}
	all := map[nodeKey]node{first.key(): first}
	before := map[nodeKey][]nodeKey{}
	queue := []node{first}
	var ends []nodeKey
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		m.check(&n)
		if _, found := m.bad[m.until]; found {
			return len(all)
		}
		key := n.key()
		if n.over() {
			ends = append(ends, key)
		}
		steps, killed := m.next(n)
		for i, after := range steps {
			k := after.key()
			if i < killed {
				before[k] = append(before[k], key)
			}
			if _, ok := all[k]; !ok {
				all[k] = after
				queue = append(queue, after)
			}
		}
	}
	reaches := map[nodeKey]bool{}
	for len(ends) > 0 {
		k := ends[0]
		ends = ends[1:]
		if !reaches[k] {
			reaches[k] = true
			ends = append(ends, before[k]...)
		}
	}
	for k, n := range all {
		if !reaches[k] && n.l.State != "" {
			m.fail("a lease may never end", &n)
		}
	}
	return len(all)
}

// A1, B1, B9, C7: whatever is killed and whenever, nothing is taken away early,
// nothing ends twice, and every lease can end.
func TestModel(t *testing.T) {
	t.Parallel()
	var m model
	states := m.explore()
	t.Logf("%d states", states)
	for what, n := range m.bad {
		t.Errorf("%s: %+v", what, n.key())
	}
	if states < 5_000 {
		t.Errorf("the model has only %d states: it explores nothing", states)
	}
}

// Each rule of the model is needed: without it a property breaks.
func TestBrokenModel(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]rules{
		"a lease is taken away before its time":         {early: true},
		"an account is there after its lease has ended": {noFence: true},
		"a lease ended twice":                           {twice: true},
		"a credential does not work before its time":    {storeFirst: true},
		"a lease may never end":                         {giveUp: true},
	} {
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			t.Parallel()
			m := model{rules: r, until: want}
			states := m.explore()
			n, ok := m.bad[want]
			if !ok {
				t.Fatalf("it is not seen in %d states, but %d others", states, len(m.bad))
			}
			t.Logf("%d states; first at %+v", states, n.key())
		})
	}
}
