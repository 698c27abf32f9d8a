package sim_test

import (
	"bytes"
	"context"
	crypto "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/bus/bustest"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// world is everything that outlives processes, and what the checks know.
type world struct {
	*scheduler
	defect defect
	odds   odds
	chaos  bool // faults happen

	storeClock  *shifted
	targetClock *shifted
	store       *storetest.Fake
	engine      *enginetest.Fake
	bus         *bustest.Fake
	index       *memory.Index
	ledger      *ledger
	away        map[string]time.Time // systems that do not answer, until then
	heals       []func()             // of what targets refuse

	issuers, revokers, auditors []*role
	clients                     clients
	checks                      checks
}

// shifted is a clock that is wrong by an offset.
type shifted struct {
	clock.System
	offset time.Duration
}

func (c *shifted) Now() time.Time { return c.System.Now().Add(c.offset) }

// role is a program that is started again whenever it died.
type role struct {
	name  string
	lives int
	skew  time.Duration
	now   *process
	api   *issuer.Issuer // of an issuer
	start func(p *process) (*issuer.Issuer, []func(context.Context) error, error)
}

// targets are the connections; each mount has one.
var targets = map[string]string{"db1/": "target.one", "db2/": "target.two"}

const grace = 10 * time.Second

// result is what a run came to.
type result struct {
	steps  int
	hash   uint64
	failed []violation
	trace  string
	took   time.Duration // of the simulated time
	counts map[string]int
}

// simulate runs one seed.
func simulate(t *testing.T, seed uint64, d defect, traced bool) (r result) {
	t.Helper()
	// Goroutines that one answer woke run one after the other, too: what they do
	// to each other inside their process is the same again.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	cryptotest.SetGlobalRandom(t, seed) // puts rand.Reader back afterwards
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, seed, d)
		crypto.Reader = w.scheduler
		if traced {
			w.trace = &strings.Builder{}
		}
		w.run()
		r = result{steps: w.steps, hash: w.hash, failed: w.checks.found, took: time.Since(w.start), counts: w.checks.counts}
		if traced {
			r.trace = w.trace.String()
		}
	})
	return r
}

func newWorld(t *testing.T, seed uint64, d defect) *world {
	t.Helper()
	w := &world{
		scheduler: newScheduler(t, seed), defect: d,
		storeClock: &shifted{}, targetClock: &shifted{}, bus: bustest.NewFake(), index: memory.New(),
		ledger: &ledger{segments: map[int64][][]byte{}}, away: map[string]time.Time{},
	}
	w.storeClock.offset = time.Duration(w.rand.IntN(7)-3) * time.Minute
	w.targetClock.offset = w.storeClock.offset + time.Duration(w.rand.IntN(5)-2)*time.Second
	w.odds = drawOdds(w.scheduler)
	w.store = storetest.NewFake(w.storeClock)
	w.engine = enginetest.NewFake(enginetest.FakeConfig{Clock: w.targetClock, Grace: grace})
	w.checks = newChecks(w)
	w.clients = newClients(w)
	whole := w.chance(0.3)
	w.calm = func() bool { return !w.chaos || !whole && len(w.away) == 0 }
	w.decide, w.after = w.judge, w.checks.after
	for n := range 2 {
		w.issuers = append(w.issuers, w.role(fmt.Sprintf("issuer%d", n+1), w.startIssuer))
		w.revokers = append(w.revokers, w.role(fmt.Sprintf("revoker%d", n+1), w.startRevoker))
		w.auditors = append(w.auditors, w.role(fmt.Sprintf("auditor%d", n+1), w.startAuditor))
	}
	w.install()
	return w
}

func (w *world) role(name string, start func(p *process) (*issuer.Issuer, []func(context.Context) error, error)) *role {
	return &role{name: name, start: start, skew: time.Duration(w.rand.IntN(11)-5) * time.Minute}
}

func (w *world) roles() []*role { return slices.Concat(w.issuers, w.revokers, w.auditors) }

// begin starts a role's next life.
func (w *world) begin(r *role) {
	r.lives++
	p := newProcess(w.scheduler, fmt.Sprintf("%s.%d", r.name, r.lives), r.skew)
	r.now = p
	p.onKill = func() {
		w.note("%s died", p.name)
		w.later(w.between(100*time.Millisecond, 20*time.Second), "restart "+p.name, func() { w.begin(r) })
	}
	api, loops, err := r.start(p)
	if err != nil {
		w.t.Fatalf("start %s: %v", r.name, err)
	}
	r.api = api
	w.note("%s started", p.name)
	for _, loop := range loops {
		p.all.Go(func() { _ = loop(p.ctx) }) // what it says at the end is of no interest
	}
}

// publisher is the loop that every issuer and revoker runs.
func (w *world) publisher(p *process) (func(context.Context) error, error) {
	wake, _ := w.store.Watch()
	pub, err := publish.New(storeOf{p, w}, busOf{p, w}, wake, p, zerolog.Nop(), publish.Config{Owner: p.name})
	if err != nil {
		return nil, fmt.Errorf("make publisher: %w", err)
	}
	return step.New(p, zerolog.Nop(), step.Config{}, pub).Run, nil
}

func (w *world) startIssuer(p *process) (*issuer.Issuer, []func(context.Context) error, error) {
	i, err := issuer.New(issuer.Deps{
		Store: storeOf{p, w}, Engines: []engine.Engine{engineOf{w.engine, p, w}},
		Seal: openSeal{}, Keys: openSeal{}, Sealer: openSeal{}, Clock: p, Log: zerolog.Nop(),
	}, issuer.Config{SyncWithin: 20 * time.Second, Within: time.Minute})
	if err != nil {
		return nil, nil, fmt.Errorf("make issuer: %w", err)
	}
	pub, err := w.publisher(p)
	return i, []func(context.Context) error{i.Run, pub}, err
}

func (w *world) startRevoker(p *process) (*issuer.Issuer, []func(context.Context) error, error) {
	r, err := revoker.New(revoker.Deps{
		Store: storeOf{p, w}, Stream: busOf{p, w}, Index: indexOf{p, w}, Engines: []engine.Engine{engineOf{w.engine, p, w}},
		Clock: p, Log: zerolog.Nop(),
	}, revoker.Config{
		Name: p.name, Fallback: memory.New(), Overdue: 2 * time.Second, SweepEvery: 2 * time.Second,
		StrayEvery: 20 * time.Second, KeepBarrier: 10 * time.Minute,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("make revoker: %w", err)
	}
	pub, err := w.publisher(p)
	return nil, []func(context.Context) error{r.Run, pub}, err
}

func (w *world) startAuditor(p *process) (*issuer.Issuer, []func(context.Context) error, error) {
	l := ledgerOf{p, w}
	a, err := auditor.NewRecorder(auditor.Deps{
		Stream: busOf{p, w}, Store: storeOf{p, w}, Locks: storeOf{p, w}, Clock: p, Log: zerolog.Nop(),
	}, p.name, l, l.open)
	if err != nil {
		return nil, nil, fmt.Errorf("make auditor: %w", err)
	}
	return nil, []func(context.Context) error{a.Run}, nil
}

// openSeal is a seal that never was shut, and keeps nothing secret.
type openSeal struct{}

func (openSeal) Status(context.Context) (issuer.SealStatus, error) {
	return issuer.SealStatus{
		Type: "file", Initialized: true, Shares: 1, Threshold: 1, RecoverySeal: true,
		StorageType: "postgres", ClusterName: "curfew", ClusterID: "6315a266-0021-c10a-e55a-784f32f63b7f",
	}, nil
}

func (openSeal) Initialize(context.Context, issuer.InitRequest) (issuer.InitResult, error) {
	return issuer.InitResult{}, issuer.ErrInitialized
}

func (openSeal) Shut(context.Context, ...event.Event) error { return errors.New("not in here") }

func (openSeal) Unseal(context.Context, secret.Value, lease.Actor) error {
	return errors.New("not in here")
}

func (openSeal) Reset() {}

func (openSeal) Guard() []store.Ref { return nil }

func (openSeal) Derive(purpose string) ([]byte, error) { return []byte("key of " + purpose), nil }

func (openSeal) Seal(plaintext []byte, about string) ([]byte, error) {
	return append([]byte(about+"|"), plaintext...), nil
}

func (openSeal) Open(ciphertext []byte, about string) ([]byte, error) {
	plaintext, ok := bytes.CutPrefix(ciphertext, []byte(about+"|"))
	if !ok {
		return nil, errors.New("sealed for something else")
	}
	return plaintext, nil
}

// install makes what every installation begins with: a policy, the mounts with
// their roles, a root token.
func (w *world) install() {
	ctx := context.Background()
	value, err := json.Marshal(map[string]string{"text": `path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo"] }`})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.store.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindPolicy, Key: "all", Value: value}}}); err != nil {
		w.t.Fatal(err)
	}
	i, err := issuer.New(issuer.Deps{
		Store: w.store, Engines: []engine.Engine{w.engine}, Seal: openSeal{}, Keys: openSeal{}, Sealer: openSeal{}, Clock: clock.System{}, Log: zerolog.Nop(),
	}, issuer.Config{})
	if err != nil {
		w.t.Fatal(err)
	}
	root, err := i.RootToken(ctx, secret.Value{}, lease.System("system:test"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.clients.root = root.Reveal()
	for _, mount := range []string{"db1/", "db2/"} {
		w.engine.AddTarget(engine.Target{ID: targets[mount], MountID: mount, Mount: mount, Name: "db"})
		if code, body := serve(i, request{method: "POST", path: "sys/mounts/" + strings.TrimSuffix(mount, "/"), token: w.clients.root, body: `{"type":"database"}`}); code != 204 {
			w.t.Fatalf("mount: %d %s", code, body)
		}
		w.furnish(mount)
	}
	for _, l := range w.store.Leases() {
		w.checks.seen[l.ID] = l
	}
}

// furnish gives a mount its roles, with entries that guard them.
func (w *world) furnish(mount string) {
	ctx := context.Background()
	m, err := w.store.Entry(ctx, store.KindMount, mount)
	if err != nil {
		return // it is disabled
	}
	for _, name := range []string{"short", "long"} {
		if _, err := w.store.Entry(ctx, store.KindRole, m.ID+"/"+name); err == nil {
			continue
		}
		put, err := w.store.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: m.ID + "/" + name, Value: []byte("{}")}}})
		if err != nil {
			w.t.Fatal(err)
		}
		ttl := map[string]time.Duration{"short": 4 * time.Second, "long": 20 * time.Second}[name]
		w.engine.AddRole(name, enginetest.FakeRole{
			MountID: m.ID, Target: targets[mount], Limits: lease.TTLs{Default: ttl, Max: 3 * ttl},
			Guard: []store.Ref{{Kind: store.KindRole, ID: put[0].ID}}, TargetOffset: w.targetClock.offset - w.storeClock.offset,
		})
	}
}

// run is the scenario: a while of everything at once, then a while in which
// nothing fails, after which all has to be well.
func (w *world) run() {
	for _, r := range w.roles() {
		w.later(w.between(0, time.Second), "start "+r.name, func() { w.begin(r) })
	}
	w.chaos = true
	w.clients.plan()
	w.planFaults()
	w.scheduler.run(time.Now().Add(chaosLasts), nil)
	w.heal()
	w.scheduler.run(time.Now().Add(quietLasts), w.checks.settled)
	w.checks.final()
	w.stop()
}

const (
	chaosLasts = 25 * time.Second
	quietLasts = 20 * time.Minute
)

// heal ends all faults.
func (w *world) heal() {
	w.note("from here on nothing fails")
	w.chaos = false
	clear(w.away)
	for _, heal := range w.heals {
		heal()
	}
	w.checks.healed = time.Now()
	w.mended()
}

// stop kills everything and waits until no goroutine is left.
func (w *world) stop() {
	done := make(chan struct{})
	w.chaos, w.checks.over = false, true
	for _, r := range w.roles() {
		if r.now != nil {
			r.now.onKill = nil
			r.now.kill()
		}
	}
	go func() {
		for _, p := range w.clients.served {
			p.all.Wait()
		}
		for _, r := range w.roles() {
			if r.now != nil {
				r.now.all.Wait()
			}
		}
		close(done)
	}()
	w.scheduler.run(time.Now().Add(time.Hour), func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
}
