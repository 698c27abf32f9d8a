package fsck_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/expiry"
	"github.com/curfew-project/curfew/shared/expiry/memory"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// fatal is the part of testing that a world needs; rapid has it too.
type fatal interface {
	Helper()
	Fatalf(format string, args ...any)
}

const target = "t1"

// world is an installation whose parts only the test moves: a store, one target,
// an index, a stream and a ledger.
type world struct {
	t        fatal
	ctx      context.Context
	clock    *storetest.Clock
	fake     *storetest.Fake
	lock     store.Lock
	accounts map[string]bool
	index    *memory.Index
	stream   *fsck.Tail
	ledger   []event.Event

	// plants
	rows map[lease.ID]func(*fsck.Row) // what somebody wrote into the store by hand
	away map[fsck.Part]bool           // sides that do not answer
	cut  []event.Event                // what was cut out of the ledger

	moves  func() // done before and after each call of the checker
	settle func() // what running work does between two looks
	calls  int
}

func newWorld(ctx context.Context, t fatal) *world {
	t.Helper()
	c := storetest.NewClock()
	w := &world{
		t: t, ctx: ctx, clock: c, fake: storetest.NewFake(c), accounts: map[string]bool{}, index: memory.New(),
		stream: &fsck.Tail{}, rows: map[lease.ID]func(*fsck.Row){}, away: map[fsck.Part]bool{}, moves: func() {},
	}
	w.settle = w.deliver
	var ok bool
	var err error
	if w.lock, ok, err = w.fake.Acquire(ctx, publish.LockName, "me", 1000*time.Hour); err != nil || !ok {
		t.Fatalf("take the lock: %t, %v", ok, err)
	}
	w.beat()
	w.issue(3)
	w.deliver()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%v", err)
	}
}

// apply commits a change of whatever version the lease has.
func (w *world) apply(id lease.ID, do lease.Action) lease.Lease {
	w.t.Helper()
	c := lease.Change{ID: id, Version: lease.AnyVersion, Key: lease.RandomBase62(8), Do: do}
	if _, begin := do.(lease.Begin); begin {
		c.Version = 0
	}
	o := w.fake.Apply(w.ctx, store.Transition{Change: c})[0]
	w.must(o.Err)
	return o.Lease
}

// begin commits an intent.
func (w *world) begin() lease.Lease {
	id := lease.NewID("database/creds/app")
	return w.apply(id, lease.Begin{Grace: 100 * time.Hour, Lease: lease.Lease{
		Kind: lease.Secret, Engine: "database", Target: target, Account: "v-" + string(id[len(id)-12:]), TTL: time.Hour, MaxTTL: 24 * time.Hour, Renewable: true,
	}})
}

// issue makes leases that are active.
func (w *world) issue(n int) (last lease.Lease) {
	for range n {
		l := w.begin()
		w.accounts[l.Account] = true
		last = w.apply(l.ID, lease.Activate{})
	}
	return last
}

// end takes a lease away, whole.
func (w *world) end(l lease.Lease) {
	w.apply(l.ID, lease.Revoke{})
	delete(w.accounts, l.Account)
	w.apply(l.ID, lease.Finish{To: lease.Revoked})
}

// number and deliver bring events on their way.
func (w *world) number(n int) {
	_, _, err := w.fake.Number(w.ctx, w.lock, n)
	w.must(err)
}

func (w *world) deliver() {
	w.number(1 << 20)
	w.publish()
	w.record()
}

func (w *world) publish() {
	head, err := w.fake.Head(w.ctx)
	w.must(err)
	w.must(w.fake.Confirm(w.ctx, publish.Sent, head))
	w.stream.Last = head
}

func (w *world) record() {
	var after event.Position
	if n := len(w.ledger); n > 0 {
		after = w.ledger[n-1].Position
	}
	events, err := w.fake.Events(w.ctx, after, 1<<20)
	w.must(err)
	w.ledger = append(w.ledger, events...)
	if n := len(w.ledger); n > 0 {
		w.must(w.fake.Confirm(w.ctx, store.Ledger, w.ledger[n-1].Position))
	}
	_, err = w.fake.Trim(w.ctx, w.stream.Last, 1<<20)
	w.must(err)
}

// Timer implements [clock.Clock]: it lets running work do what it does.
func (w *world) Timer(d time.Duration) (<-chan time.Time, func()) {
	w.clock.Advance(d)
	w.settle()
	fired := make(chan time.Time, 1)
	fired <- w.clock.Now()
	return fired, func() {}
}

// Now implements [clock.Clock].
func (w *world) Now() time.Time { return w.clock.Now() }

// check runs a checker over the world.
func (w *world) check(cfg fsck.Config) fsck.Report {
	w.t.Helper()
	local := fsck.NewLocal(w.fake, map[string]engine.Engine{"database": databases{w: w}})
	local.Tail = func(context.Context) *fsck.Tail { tail := *w.stream; return &tail }
	src := fsck.Sources{
		Store: sides{local, w}, Targets: sides{local, w}, Ledger: ledger{w},
		Index: &fsck.IndexView{Local: local, Index: indexed{w.index, w}},
	}
	r, err := fsck.New(src, w, cfg).Run(w.ctx)
	w.must(err)
	return r
}

func (w *world) call(p fsck.Part) error {
	w.calls++
	w.moves()
	if w.away[p] {
		return fmt.Errorf("%s is away", p)
	}
	return nil
}

// sides are the store and the target, moving.
type sides struct {
	*fsck.Local
	w *world
}

func (s sides) Standing(ctx context.Context) (fsck.Standing, error) {
	if err := s.w.call(fsck.PartStore); err != nil {
		return fsck.Standing{}, err
	}
	return s.Local.Standing(ctx)
}

func (s sides) planted(rows []fsck.Row) []fsck.Row {
	for i := range rows {
		if change := s.w.rows[rows[i].ID]; change != nil {
			change(&rows[i])
		}
	}
	return slices.DeleteFunc(rows, func(r fsck.Row) bool { return r.ID == "" })
}

func (s sides) Leases(ctx context.Context, after lease.ID, limit int) ([]fsck.Row, error) {
	if err := s.w.call(fsck.PartStore); err != nil {
		return nil, err
	}
	rows, err := s.Local.Leases(ctx, after, limit)
	return s.planted(rows), err
}

func (s sides) Named(ctx context.Context, account string) ([]fsck.Row, error) {
	if err := s.w.call(fsck.PartStore); err != nil {
		return nil, err
	}
	rows, err := s.Local.Named(ctx, account)
	return s.planted(rows), err
}

func (s sides) Lease(ctx context.Context, id lease.ID) (fsck.Row, bool, error) {
	if err := s.w.call(fsck.PartStore); err != nil {
		return fsck.Row{}, false, err
	}
	r, found, err := s.Local.Lease(ctx, id)
	rows := s.planted([]fsck.Row{r})
	if len(rows) == 0 {
		return fsck.Row{}, false, err
	}
	return rows[0], found, err
}

func (s sides) Accounts(ctx context.Context, target, after string, limit int) ([]string, error) {
	if err := s.w.call(fsck.PartTargets); err != nil {
		return nil, err
	}
	return s.Local.Accounts(ctx, target, after, limit)
}

// databases is an engine with one target.
type databases struct {
	engine.Engine
	w *world
}

func (d databases) Targets(context.Context) ([]engine.Target, error) {
	return []engine.Target{{ID: target, Mount: "database/", Name: "app"}}, nil
}

func (d databases) Accounts(_ context.Context, _, after string, limit int) (out []engine.Account, _ error) {
	for _, name := range slices.Sorted(maps.Keys(d.w.accounts)) {
		if name > after && len(out) < limit {
			out = append(out, engine.Account{Name: name})
		}
	}
	return out, nil
}

func (databases) StrayPlan(context.Context, string, engine.Account) (plan, handle []byte, err error) {
	return nil, nil, nil
}
func (databases) EndGhosts(context.Context, string) (int, error) { return 0, nil }

// ledger is the record, read entry by entry.
type ledger struct{ w *world }

func (l ledger) Record(_ context.Context, share fsck.Share, each func(fsck.Line) error) error {
	if err := l.w.call(fsck.PartLedger); err != nil {
		return err
	}
	entries := slices.Clone(l.w.ledger)
	read := func(f *fsck.Fold) {
		for i := range entries {
			// Entry n of the file is at place n, whatever number it bears.
			f.Add(event.Position{Epoch: entries[i].Position.Epoch, Number: int64(i) + 1}, &entries[i])
		}
	}
	fold := fsck.NewFold(share)
	read(fold)
	again := fold.Again()
	if again != nil {
		read(again)
	}
	return fold.Tell(again, int64(len(entries)), func(line fsck.Line) error {
		l.w.moves()
		return each(line)
	})
}

// indexed is the index, which may be away.
type indexed struct {
	*memory.Index
	w *world
}

func (x indexed) Len(ctx context.Context) (int, error) {
	if err := x.w.call(fsck.PartIndex); err != nil {
		return 0, err
	}
	return x.Index.Len(ctx)
}

var (
	_ engine.Sweeper = databases{}
	_ expiry.Lister  = indexed{}
)

// kinds are what a report says does not agree.
func kinds(r fsck.Report) (out []fsck.Kind) {
	for _, f := range r.Disagreements {
		out = append(out, f.Kind)
	}
	slices.Sort(out)
	return out
}

func clean(t *testing.T, r fsck.Report) {
	t.Helper()
	if !r.Clean || r.Code() != 0 {
		t.Errorf("it is not clean: %+v, unseen %+v", r.Disagreements, r.Unseen)
	}
}
