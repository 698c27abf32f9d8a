//go:build e2e

package fault

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
	"github.com/curfew-project/curfew/shared/testkit"
)

// pair are two kinds of processes that talk to each other, and what goes on
// while they cannot.
type pair struct {
	name string
	// served: credentials are issued meanwhile.
	served bool
	// revoked: what runs out is taken away meanwhile. Else only VALID UNTIL closes
	// its login (B8, C10).
	revoked bool
}

// pairs are all pairs of the distributed form.
func pairs() []pair {
	return []pair{
		{"client–issuer", false, true},
		{"issuer–store", false, true},
		{"issuer–NATS", true, true},
		{"issuer–target", false, true},
		{"issuer–auditor", true, true},
		{"revoker–store", true, false},
		{"revoker–NATS", true, true},
		{"revoker–Redis", true, true},
		{"revoker–target", true, false},
		{"auditor–store", true, true},
		{"auditor–NATS", true, true},
	}
}

// strangers are told of each other by the one configuration, and never talk.
func strangers() []string {
	return []string{"issuer–Redis", "auditor–Redis", "revoker–auditor", "auditor–auditor"}
}

// toxic is what is done to everything between two kinds of processes.
type toxic struct {
	name string
	// slow: all arrives, later.
	slow bool
	do   func(*testkit.Proxy)
}

func toxics() []toxic {
	both := func(t testkit.Toxic) func(*testkit.Proxy) {
		return func(p *testkit.Proxy) { p.Poison(testkit.ToServer, t); p.Poison(testkit.FromServer, t) }
	}
	one := func(d testkit.Direction, t testkit.Toxic) func(*testkit.Proxy) {
		return func(p *testkit.Proxy) { p.Poison(d, t) }
	}
	const few = 4 << 10 // bytes: a login to Postgres takes a quarter
	return []toxic{
		{"latency with jitter", true, both(testkit.Toxic{Latency: 20 * time.Millisecond, Jitter: 80 * time.Millisecond})},
		{"little bandwidth", true, both(testkit.Toxic{Rate: 64 << 10})},
		{"cut on the way there", false, one(testkit.ToServer, testkit.Toxic{CutWithin: few})},
		{"cut on the way back", false, one(testkit.FromServer, testkit.Toxic{CutWithin: few})},
		{"half open, nothing arrives", false, one(testkit.ToServer, testkit.Toxic{Drop: true})},
		{"half open, nothing comes back", false, one(testkit.FromServer, testkit.Toxic{Drop: true})},
		{"black hole", false, both(testkit.Toxic{Drop: true})},
		{"the peer has gone without a word", false, func(p *testkit.Proxy) {
			p.Poison(testkit.FromServer, testkit.Toxic{Drop: true})
			p.HangUp()
		}},
		{"slow close", false, func(p *testkit.Proxy) {
			p.Poison(testkit.FromServer, testkit.Toxic{Linger: 3 * time.Second})
			p.HangUp()
		}},
	}
}

const (
	// toxicFor is how long a toxic lasts at least.
	toxicFor = 6 * time.Second
	// fewToxics are done to one pair where not everything is asked for.
	fewToxics = 1
	// expiresWithin is how much later than its time a lease may be taken away: the
	// promise is 2 s; the rest is for a machine that does much else.
	expiresWithin = 15 * time.Second
	// margin of VALID UNTIL (B8).
	margin = 5 * time.Second
	// brief is briefTTL.
	brief = 3 * time.Second
)

// TestNetwork breaks the network between each pair of processes of the
// distributed form, in each way that a network breaks, under load. No process may
// end because of it, what has nothing to do with it goes on, and what was
// answered holds.
func TestNetwork(t *testing.T) {
	if !distributed() {
		t.Skip("one machine has no network between its parts: " + formVariable + "=distributed")
	}
	n := &network{tb: t, links: map[string][]*testkit.Proxy{}}
	w := open(t, n.through)
	f, ok := w.form.(*fleet)
	if !ok {
		t.Fatal("that is no fleet")
	}
	f.front = n.front
	n.lay(t, w)
	all := pairs()
	if !full() {
		w.chance.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:1]
	}
	for _, p := range all {
		t.Run(p.name, func(t *testing.T) { w.sever(t, n, p) })
	}
	for _, p := range strangers() {
		n.of(p).each(func(x *testkit.Proxy) {
			if x.Passed() > 0 {
				t.Errorf("%s: they talk, and nothing here breaks that", p)
			}
		})
	}
}

// sever does everything to one pair, and adds a row.
func (w *world) sever(t *testing.T, n *network, p pair) {
	t.Helper()
	row, before := faults.Row{Fault: "network: " + p.name + ", " + w.form.name()}, w.record.count()
	all := toxics()
	w.chance.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if !full() {
		all = all[:fewToxics]
	}
	link := n.of(p.name)
	if len(link) == 0 {
		t.Fatal("there is no such pair")
	}
	for _, x := range all {
		w.poison(t, &row, link, p, x)
		row.Rounds++
	}
	w.enter(t, row, before)
}

// poison does one toxic to one pair while clients live their lives.
func (w *world) poison(t *testing.T, row *faults.Row, link links, p pair, x toxic) {
	t.Helper()
	l := w.load(t, loadClients)
	reading := w.reads(t)
	due, ended := w.fallDue(t)
	before, began := link.bites(), time.Now()
	link.each(x.do)
	t.Cleanup(func() { link.each((*testkit.Proxy).Cure) }) // of a test that failed
	if p.served || x.slow {
		w.serves(t, x.name)
	}
	w.expires(t, x, due, ended, p.revoked || x.slow)
	// Where nothing passes, connections have to be made anew.
	if !soon(hang, func() bool {
		bitten := link.bites().Total() > before.Total()
		if !bitten && time.Since(began) > toxicFor {
			link.each((*testkit.Proxy).HangUp)
		}
		return bitten && time.Since(began) > toxicFor
	}) {
		t.Errorf("%s: it did nothing", x.name)
	}
	for _, name := range w.form.processes() {
		if !w.form.running(t, name) {
			t.Errorf("%s: %s has ended", x.name, name)
		}
	}
	after, served := link.bites(), l.done.Load()
	link.each((*testkit.Proxy).Cure)
	up := time.Now()
	l.end()
	reading()
	t.Logf("%s, for %v: %d bytes late, %d lost, %d connections cut, %d ends late or lost; %d requests were served",
		x.name, up.Sub(began).Round(time.Millisecond), after.Delayed-before.Delayed, after.Dropped-before.Dropped,
		after.Cut-before.Cut, after.Held-before.Held, served)
	if !w.settle(t, row, up) {
		t.Logf("after %s between %s", x.name, p.name)
	}
}

// fallDue issues credentials that run out soon.
func (w *world) fallDue(t *testing.T) (creds []credential, at time.Time) {
	t.Helper()
	c := w.client(t)
	for range 3 {
		w.insist(t, "issue a brief credential", func() error {
			cred, err := w.issue(t.Context(), c, "database/creds/brief")
			if err == nil {
				w.book.ends(cred)
				creds = append(creds, cred)
			}
			return err
		})
	}
	return creds, time.Now().Add(brief)
}

// expires: what runs out is taken away in time while the toxic is at work, by the
// revokers, or else by VALID UNTIL.
func (w *world) expires(t *testing.T, x toxic, creds []credential, at time.Time, revoked bool) {
	t.Helper()
	limit := time.Until(at) + expiresWithin
	if !revoked {
		limit += margin
	}
	var left []string
	if !soon(limit, func() bool {
		left = nil
		there := w.target.accounts(t)
		for _, c := range creds {
			// B8: without a revoker the target itself refuses it.
			if there[c.user] && (revoked || !refused(w.target.login(t.Context(), c.user, c.password))) {
				left = append(left, c.user)
			}
		}
		return len(left) == 0
	}) {
		t.Errorf("%s: %s may log in %v after their time", x.name, strings.Join(left, ", "), time.Since(at).Round(time.Millisecond))
	}
}

// serves: a credential is issued and works while the toxic is at work.
func (w *world) serves(t *testing.T, what string) {
	t.Helper()
	c := w.client(t)
	var err error
	if !soon(hang, func() bool {
		var cred credential
		if cred, err = w.issue(t.Context(), c, "database/creds/app"); err != nil {
			return false
		}
		w.book.hold(cred)
		if err = w.target.login(t.Context(), cred.user, cred.password); err != nil {
			w.book.note(func() { w.book.early = append(w.book.early, cred.user+" was answered and does not work: "+err.Error()) })
		}
		return true
	}) {
		t.Errorf("%s: nothing is issued meanwhile: %v", what, err)
	}
}

// reads reads the record all the time, as the page of an operator does, until it
// is told to end.
func (w *world) reads(t *testing.T) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		for ctx.Err() == nil {
			_ = w.peek(ctx) // it may be away
			select {
			case <-ctx.Done():
			case <-time.After(5 * pace):
			}
		}
	})
	end = sync.OnceFunc(func() { cancel(); all.Wait() })
	t.Cleanup(end)
	return end
}

func (w *world) peek(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.form.url()+"/v1/audit/entries?limit=5", http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", w.root)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	if res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return errors.Join(err, res.Body.Close())
}

// enter adds a row of its own for what was done since there were so many leases
// on record.
func (w *world) enter(t *testing.T, row faults.Row, before int) {
	t.Helper()
	row.Leases = w.record.count() - before
	t.Logf("\n%s%s", faults.Head, row)
	must(t, faults.Add(os.Getenv(faults.TableVariable), row), "add to the table")
}
