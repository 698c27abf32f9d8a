//go:build integration

package postgres_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// through is the configuration of a store that goes to its server by a proxy.
func through(tb testing.TB, cluster *testkit.Cluster, p *proxy, params ...string) postgres.Config {
	tb.Helper()
	url := cluster.AdminURL("postgres", params...)
	return postgres.Config{
		URL:    secret.New(strings.Replace(url, fmt.Sprint(":", cluster.Port(), "/"), fmt.Sprint(":", p.port(), "/"), 1)),
		Schema: "test_" + strings.ToLower(lease.RandomBase62(12)),
	}
}

// A6: connections are cut around their COMMIT, in each of three ways: what was
// answered as done is there once, what was refused is not there at all.
func TestCutAroundTheCommit(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]cut{"before": beforehand, "on the way": afterwards, "applied": onceApplied} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := testkit.SharedDurablePostgres(t)
			p := newProxy(t, address(cluster.Host(), cluster.Port()))
			cfg := through(t, cluster, p)
			cfg.Pooled = true // statements by their text
			s := openReal(t, cfg)
			var n atomic.Int32
			p.when(func(sent []byte) cut {
				if commits(sent) && n.Add(1)%3 == 0 {
					return way
				}
				return pass
			})
			done := hammer(t, []*postgres.Store{s}, 4, 12)
			if p.count() < 3 {
				t.Errorf("%d connections were cut", p.count())
			}
			p.when(nil)
			done.check(t, s)
		})
	}
}

// A6: a COMMIT that reaches its server long after its fate was decided does
// nothing any more, were it the first of its slot or a later one.
func TestACommitThatComesTooLate(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedDurablePostgres(t)
	p := newProxy(t, address(cluster.Host(), cluster.Port()))
	cfg := through(t, cluster, p)
	cfg.Pooled = true // statements by their text
	s := openReal(t, cfg)
	var n atomic.Int32
	p.when(func(sent []byte) cut {
		if commits(sent) && bytes.Contains(sent, []byte("system.started")) && n.Add(1)%2 == 1 {
			return muchLater
		}
		return pass
	})
	const events = 12
	for range events {
		if err := s.Append(t.Context(), event.Event{Type: event.SystemStarted}); err != nil {
			t.Error(err)
		}
	}
	p.when(nil)
	if p.count() != events {
		t.Errorf("%d commits were held back, want %d", p.count(), events)
	}
	close(p.letGo)
	p.late.Wait()
	if n := len(dense(t, s)); n != events {
		t.Errorf("%d events were appended, %d are there", events, n)
	}
}

// ledger is what a load was answered.
type ledger struct {
	mu       sync.Mutex
	versions map[lease.ID]int64
	keys     map[lease.ID]string
	maybe    map[lease.ID]bool // the outcome was unknown
	refused  int
}

// hammer lets callers live whole lives of leases on stores that are all of one
// database, until each has made n of them, and notes what was answered.
func hammer(t *testing.T, stores []*postgres.Store, callers, n int) *ledger {
	t.Helper()
	d := &ledger{versions: map[lease.ID]int64{}, keys: map[lease.ID]string{}, maybe: map[lease.ID]bool{}}
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			s := stores[c%len(stores)]
			for range n {
				d.live(t, s, lease.NewID("database/creds/a"))
			}
		})
	}
	wg.Wait()
	return d
}

func (d *ledger) live(t *testing.T, s *postgres.Store, id lease.ID) {
	t.Helper()
	first := begin(id)
	for v, do := range []lease.Action{first.Change.Do, lease.Activate{}, lease.Revoke{}, lease.Finish{To: lease.Revoked}} {
		item := store.Transition{Change: lease.Change{ID: id, Version: int64(v), Key: lease.RandomBase62(12), By: lease.System("test"), Do: do}}
		out := s.Apply(t.Context(), item)[0]
		if !d.note(t, item, out) {
			return
		}
	}
}

// note takes in an answer; false where the life cannot go on.
func (d *ledger) note(t *testing.T, item store.Transition, out store.Outcome) bool {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	id := item.Change.ID
	switch {
	case out.Err == nil:
		d.versions[id], d.keys[id] = out.Lease.Version, item.Change.Key
		return true
	case errors.Is(out.Err, store.ErrUnknown):
		d.maybe[id] = true
	case errors.Is(out.Err, lease.ErrVersion), errors.Is(out.Err, store.ErrNotFound):
		t.Errorf("%T of %s: %v", item.Change.Do, id, out.Err)
	default:
		d.refused++
	}
	return false
}

// check compares what was answered with what there is.
func (d *ledger) check(t *testing.T, s *postgres.Store) {
	t.Helper()
	last := map[lease.ID]int64{}
	for _, e := range numbered(t, s) {
		last[e.Data.LeaseID] = e.Data.Version
	}
	for id, version := range d.versions {
		l, err := s.Get(t.Context(), id)
		if err != nil {
			t.Errorf("%s was answered as version %d: %v", id, version, err)
			continue
		}
		if d.maybe[id] {
			if l.Version != version && l.Version != version+1 {
				t.Errorf("%s is version %d, answered was %d and one more that may be", id, l.Version, version)
			}
		} else if l.Version != version || l.LastKey != d.keys[id] {
			t.Errorf("%s is version %d by %s, answered was %d by %s", id, l.Version, l.LastKey, version, d.keys[id])
		}
		if last[id] != l.Version {
			t.Errorf("%s is version %d, its last event is of %d", id, l.Version, last[id])
		}
		delete(last, id)
	}
	for id, version := range last {
		if !d.maybe[id] && id != "" {
			t.Errorf("%s is there as version %d, and was refused", id, version)
		}
	}
	t.Logf("%d leases answered, %d refusals, %d unknown", len(d.versions), d.refused, len(d.maybe))
}

// Two processes under load while connections are killed: nothing that was
// answered is lost, nothing is there twice.
func TestConnectionsAreKilledUnderLoad(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedDurablePostgres(t)
	p := newProxy(t, address(cluster.Host(), cluster.Port()))
	cfg := through(t, cluster, p, "application_name=killed")
	stores := []*postgres.Store{openReal(t, cfg), openReal(t, cfg)}
	ctx, cancel := contextOf(t)
	var killed int
	var wg sync.WaitGroup
	admin := testkit.Connect(t, cluster.AdminURL("postgres"))
	wg.Go(func() {
		for ctx.Err() == nil {
			var n int
			// Waits for work to be seen, so that it is killed in the middle.
			err := admin.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity
				WHERE application_name = 'killed' AND state <> 'idle' ORDER BY random() LIMIT 1) a`).Scan(&n)
			if ctx.Err() == nil && err != nil {
				t.Error(err)
			}
			killed += n
			select {
			case <-ctx.Done():
			case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
			}
		}
	})
	done := hammer(t, stores, 16, 25)
	cancel()
	wg.Wait()
	if killed < 5 {
		t.Errorf("%d connections were killed", killed)
	}
	t.Logf("%d connections killed", killed)
	done.check(t, stores[0])
}

// The server is killed and restarted under load: nothing answered is lost.
func TestTheServerRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.Durable())
	cfg := postgres.Config{URL: secret.New(cluster.AdminURL("postgres")), Settle: hangs}
	stores := []*postgres.Store{openReal(t, cfg), openReal(t, cfg)}
	finished := make(chan *ledger)
	go func() { finished <- hammer(t, stores, 8, 60) }()
	for i := range 3 {
		waitFor(t, "work", func() bool {
			n, err := stores[i%2].Count(t.Context(), store.Query{Prefix: "database/"})
			return err == nil && n > int64(40*(i+1))
		})
		switch i {
		case 0:
			cluster.Kill(t)
		case 1:
			cluster.Stop(t, testkit.Immediate)
		case 2:
			cluster.Stop(t, testkit.Fast)
		}
		cluster.Start(t)
	}
	done := <-finished
	done.check(t, stores[0])
	if why, suspended, err := stores[0].Suspension(t.Context()); suspended || err != nil {
		t.Errorf("a restart is no reason to suspend: %+v, %v", why, err)
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	end := time.Now().Add(hangs)
	for !is() {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Law: rows are locked in one order by everybody, so nothing deadlocks:
// overlapping batches in random order from two processes, with all the other
// kinds of commits beside them.
func TestNothingDeadlocks(t *testing.T) {
	t.Parallel()
	cluster := testkit.SharedDurablePostgres(t)
	cfg := configured(t)
	database := cluster.NewDatabase(t) // counts deadlocks of its own
	cfg.URL = secret.New(cluster.AdminURL(database))
	cfg.Lanes, cfg.Writers = 4, 8
	stores := []*postgres.Store{openReal(t, cfg), openReal(t, cfg)}
	ids := make([]lease.ID, 60)
	for i := range ids {
		ids[i] = lease.ID(fmt.Sprintf("a/%02d", i))
	}
	until := time.Now().Add(5 * time.Second)
	var applied atomic.Int64
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for time.Now().Before(until) {
				applied.Add(stir(t, stores[i%2], ids))
			}
		})
	}
	for i := range 4 {
		wg.Go(func() {
			for n := 0; time.Now().Before(until); n++ {
				disturb(t, stores[i%2], n)
			}
		})
	}
	wg.Wait()
	var deadlocks, rollbacks int64
	waitForStatistics := `SELECT deadlocks, xact_rollback FROM pg_stat_database WHERE datname = $1`
	if err := testkit.Connect(t, cluster.AdminURL(database)).QueryRow(t.Context(), waitForStatistics, database).Scan(&deadlocks, &rollbacks); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(cluster.Log(t), "deadlock detected") || deadlocks > 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
	t.Logf("%d transitions applied, %d rollbacks", applied.Load(), rollbacks)
	if applied.Load() < 100 {
		t.Errorf("only %d transitions were applied", applied.Load())
	}
	dense(t, stores[0]) // pruned leases began again, with version 1
}

// stir applies a batch of overlapping changes in random order.
func stir(t *testing.T, s *postgres.Store, ids []lease.ID) (applied int64) {
	t.Helper()
	var items []store.Transition
	for range 1 + rand.IntN(20) {
		id := ids[rand.IntN(len(ids))]
		item := begin(id)
		switch rand.IntN(4) {
		case 0:
			item.Change.Version, item.Change.Do = lease.AnyVersion, lease.Activate{}
		case 1:
			item.Change.Version, item.Change.Do = lease.AnyVersion, lease.Revoke{}
		case 2:
			item.Change.Version, item.Change.Do = lease.AnyVersion, lease.Finish{To: lease.Revoked}
		}
		item.Guard = store.Guard{Barriers: true, Token: ids[rand.IntN(len(ids))]}
		if rand.IntN(2) == 0 {
			item.Guard = store.Guard{}
		}
		items = append(items, item)
	}
	for _, out := range s.Apply(t.Context(), items...) {
		if out.Err == nil {
			applied++
		}
		for _, e := range []error{store.ErrUnknown} {
			if errors.Is(out.Err, e) {
				t.Error(out.Err)
			}
		}
	}
	return applied
}

// disturb makes one of the other commits.
func disturb(t *testing.T, s *postgres.Store, n int) {
	t.Helper()
	ctx := t.Context()
	var err error
	switch n % 6 {
	case 0:
		_, err = s.Prune(ctx, time.Now(), 10)
	case 1:
		var lock store.Lock
		if lock, _, err = s.Acquire(ctx, "publisher", "test", time.Hour); err == nil {
			_, _, err = s.Number(ctx, lock, 50)
		}
	case 2:
		var head event.Position
		if head, err = s.Head(ctx); err == nil {
			err = s.Confirm(ctx, store.Ledger, head)
		}
	case 3:
		_, err = s.Write(ctx, store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: lease.RandomBase62(4)}}})
	case 4:
		_, err = s.Raise(ctx, store.Barrier{Operation: lease.RandomBase62(8), Prefix: "b/"})
	case 5:
		if err = s.Suspend(ctx, store.Suspension{Reason: "test"}); err == nil {
			if err = s.Resume(ctx, 0, event.Position{}, store.Write{}); errors.Is(err, store.ErrNotSuspended) {
				err = nil
			}
		}
	}
	if err != nil && !errors.Is(err, store.ErrSuspended) {
		t.Errorf("disturbance %d: %v", n%6, err)
	}
}
