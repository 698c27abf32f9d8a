//go:build integration

package postgres_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// A7: the primary is killed under load and its synchronous standby takes over:
// nothing that was answered is lost. The store is suspended until somebody has
// compared it with the ledger.
func TestFailoverToASynchronousStandby(t *testing.T) {
	t.Parallel()
	primary := testkit.Postgres(t, testkit.Durable())
	standby := primary.Standby(t)
	primary.Exec(t, "postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'")
	primary.Exec(t, "postgres", "SELECT pg_reload_conf()")
	admin := testkit.Connect(t, primary.AdminURL("postgres"))
	waitFor(t, "synchronous replication", func() bool {
		var n int
		err := admin.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'").Scan(&n)
		return err == nil && n == 1
	})
	p := newProxy(t, address(primary.Host(), primary.Port()))
	cfg := through(t, primary, p)
	cfg.Settle = hangs
	stores := []*postgres.Store{openReal(t, cfg), openReal(t, cfg)}
	finished := make(chan *ledger)
	go func() { finished <- hammer(t, stores, 8, 80) }()
	waitFor(t, "work", func() bool {
		n, err := stores[0].Count(t.Context(), store.Query{Prefix: "database/"})
		return err == nil && n > 60
	})
	primary.Kill(t)
	standby.Promote(t)
	p.lead(address(standby.Host(), standby.Port()))
	done := <-finished
	why, suspended, err := stores[0].Suspension(t.Context())
	if !suspended || err != nil || why.Lost || !strings.Contains(why.Reason, "timeline") {
		t.Errorf("after the failover: %v, %+v, %v", suspended, why, err)
	}
	if done.refused == 0 || len(done.maybe) > 0 {
		t.Errorf("%d were refused by the suspension, %d are unknown", done.refused, len(done.maybe))
	}
	if err := stores[1].Resume(t.Context(), 0, event.Position{}, store.Write{}); err != nil {
		t.Fatal(err)
	}
	done.check(t, stores[0])
	if out := stores[0].Apply(t.Context(), begin("b/1"))[0]; out.Err != nil {
		t.Errorf("after it resumed: %v", out.Err)
	}
}

// A7: a copy that stood still takes over: the process that was answered more
// than it has finds out, with its first commit, and it is suspended.
func TestFailoverToAStaleCopy(t *testing.T) {
	t.Parallel()
	primary := testkit.Postgres(t, testkit.Durable())
	standby := primary.Standby(t)
	p := newProxy(t, address(primary.Host(), primary.Port()))
	s := openReal(t, through(t, primary, p))
	apply := func(id lease.ID) error { return s.Apply(t.Context(), begin(id))[0].Err }
	if err := apply("a/kept"); err != nil {
		t.Fatal(err)
	}
	standby.WaitReplay(t, primary)
	standby.Stop(t, testkit.Fast)
	if err := apply("a/lost"); err != nil {
		t.Fatal(err)
	}
	primary.Kill(t)
	standby.Start(t)
	standby.Promote(t)
	p.lead(address(standby.Host(), standby.Port()))
	if err := apply("a/next"); !errors.Is(err, store.ErrSuspended) {
		t.Errorf("the next beginning: %v, want ErrSuspended", err)
	}
	why, suspended, err := s.Suspension(t.Context())
	if err != nil || !suspended || !why.Lost {
		t.Errorf("suspended: %v, %+v, %v; want it with a loss", suspended, why, err)
	}
	if !exists(t, s, "a/kept") || exists(t, s, "a/lost") {
		t.Error("the copy is not the one that this test wants")
	}
	if err := s.Resume(t.Context(), 2, event.Position{Epoch: 1, Number: 1}, store.Write{}); err != nil {
		t.Fatal(err)
	}
	if err := apply("a/next"); err != nil {
		t.Errorf("after it resumed: %v", err)
	}
}

// A7: commits that are missing are found out also where nothing else changed: a
// disk that lied about a flush, a volume that was set back.
func TestASetBackIsFoundOut(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]string{
		"back":   "UPDATE {s}.writers SET commits = commits - 1",
		"to nil": "DELETE FROM {s}.writers",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configured(t)
			s := openReal(t, cfg)
			for i := range 8 { // each place commits
				if out := s.Apply(t.Context(), begin(lease.ID(fmt.Sprint("a/", i))))[0]; out.Err != nil {
					t.Fatal(out.Err)
				}
			}
			testkit.SharedDurablePostgres(t).Exec(t, "postgres", strings.ReplaceAll(set, "{s}", cfg.Schema))
			if out := s.Apply(t.Context(), begin("b/1"))[0]; !errors.Is(out.Err, store.ErrSuspended) {
				t.Errorf("the next beginning: %v, want ErrSuspended", out.Err)
			}
			if why, suspended, err := s.Suspension(t.Context()); err != nil || !suspended || !why.Lost {
				t.Errorf("suspended: %v, %+v, %v; want it with a loss", suspended, why, err)
			}
		})
	}
}

// A7: a process that comes back only after a recovery, as one that was paused,
// misses commits that everybody knows to be missing: it begins no other one. What
// is lost after that is found out as ever.
func TestALateProcessKnowsOfTheRecovery(t *testing.T) {
	t.Parallel()
	cfg := configured(t)
	early, late := openReal(t, cfg), openReal(t, cfg)
	n := 0
	begins := func(s *postgres.Store) error {
		n++
		return s.Apply(t.Context(), begin(lease.ID(fmt.Sprint("a/", n))))[0].Err
	}
	use := func() {
		t.Helper()
		for range 8 { // each place commits
			for _, s := range []*postgres.Store{early, late} {
				if err := begins(s); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for round := range 2 {
		use()
		testkit.SharedDurablePostgres(t).Exec(t, "postgres", "UPDATE "+cfg.Schema+".writers SET commits = commits - 1")
		if err := begins(early); !errors.Is(err, store.ErrSuspended) {
			t.Fatalf("after loss %d: %v, want ErrSuspended", round+1, err)
		}
		if err := early.Resume(t.Context(), int64(round+2), event.Position{Epoch: 1}, store.Write{}); err != nil {
			t.Fatal(err)
		}
		if err := begins(late); err != nil {
			t.Errorf("a process that comes late, after recovery %d: %v", round+1, err)
		}
		if why, suspended, err := late.Suspension(t.Context()); suspended || err != nil {
			t.Errorf("suspended again: %+v, %v", why, err)
		}
	}
}

// A7: the record in the database says which database it was written in. One
// that was loaded into another cluster, or changed its timeline, is suspended:
// when a process connects, and in the commit of one that did not see it change
// (behind a pooler).
func TestACopyIsSuspended(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]string{
		"system identifier": "UPDATE {s}.meta SET system_id = '7'",
		"timeline":          "UPDATE {s}.meta SET timeline = timeline + 1",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := configured(t)
			was := openReal(t, cfg)
			lock := publisher(t, was)
			testkit.SharedDurablePostgres(t).Exec(t, "postgres", strings.ReplaceAll(set, "{s}", cfg.Schema))
			s := was
			if name == "system identifier" {
				s = openReal(t, cfg)
			}
			if out := s.Apply(t.Context(), begin("a/1"))[0]; !errors.Is(out.Err, store.ErrSuspended) {
				t.Errorf("a beginning: %v, want ErrSuspended", out.Err)
			}
			if _, _, err := was.Number(t.Context(), lock, 1); !errors.Is(err, store.ErrSuspended) {
				t.Errorf("numbering by who was there before: %v, want ErrSuspended", err)
			}
			why, suspended, err := s.Suspension(t.Context())
			if err != nil || !suspended || why.Lost || !strings.Contains(why.Reason, name) {
				t.Errorf("suspended: %v, %+v, %v", suspended, why, err)
			}
			if err := s.Resume(t.Context(), 0, event.Position{}, store.Write{}); err != nil {
				t.Fatal(err)
			}
			openReal(t, cfg) // it knows the database now
			if out := was.Apply(t.Context(), begin("a/1"))[0]; out.Err != nil {
				t.Errorf("after it resumed: %v", out.Err)
			}
		})
	}
}

// A7: a server that may lose what it has committed is refused.
func TestUnfitServers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		options []testkit.Option
		says    string
	}{
		"fsync":            {nil, "fsync is off"},
		"full_page_writes": {[]testkit.Option{testkit.Durable(), testkit.WithSetting("full_page_writes", "off")}, "full_page_writes is off"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := testkit.Postgres(t, c.options...)
			_, err := postgres.Open(t.Context(), clock.System{}, noLog(), postgres.Config{URL: secret.New(cluster.AdminURL("postgres"))})
			if !errors.Is(err, postgres.ErrUnfit) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Open: %v, want ErrUnfit", err)
			}
		})
	}
	t.Run("standby", func(t *testing.T) {
		t.Parallel()
		primary := testkit.Postgres(t, testkit.Durable())
		standby := primary.Standby(t)
		if _, err := postgres.Open(t.Context(), clock.System{}, noLog(), postgres.Config{URL: secret.New(standby.AdminURL("postgres"))}); err == nil {
			t.Error("a standby was taken")
		}
		byRequest := secret.New(standby.AdminURL("postgres", "target_session_attrs=standby"))
		if _, err := postgres.Open(t.Context(), clock.System{}, noLog(), postgres.Config{URL: byRequest}); !errors.Is(err, postgres.ErrUnfit) {
			t.Errorf("a standby by request: %v, want ErrUnfit", err)
		}
		// Of both hosts, the one that takes writes.
		hosts := fmt.Sprintf("host=%s,%s port=%d,%d user=%s password=%s dbname=postgres sslmode=disable",
			standby.Host(), primary.Host(), standby.Port(), primary.Port(), primary.Superuser(), primary.Password())
		s := openReal(t, postgres.Config{URL: secret.New(hosts)})
		if out := s.Apply(t.Context(), begin("a/1"))[0]; out.Err != nil {
			t.Errorf("a primary among two hosts: %v", out.Err)
		}
	})
	t.Run("latin1", func(t *testing.T) {
		t.Parallel()
		cluster := testkit.SharedDurablePostgres(t)
		cluster.Exec(t, "postgres", "CREATE DATABASE latin1 ENCODING 'LATIN1' TEMPLATE template0")
		_, err := postgres.Open(t.Context(), clock.System{}, noLog(), postgres.Config{URL: secret.New(cluster.AdminURL("latin1"))})
		if !errors.Is(err, postgres.ErrUnfit) {
			t.Errorf("Open: %v, want ErrUnfit", err)
		}
	})
}

// A server that takes no writes for a while answers each call with an error that
// says so, and nothing was done; reading goes on, and so does writing later.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.Durable())
	s := openReal(t, postgres.Config{URL: secret.New(cluster.AdminURL("postgres"))})
	freeze := func(value string) {
		t.Helper()
		cluster.Exec(t, "postgres", "ALTER SYSTEM SET default_transaction_read_only = "+value)
		cluster.Exec(t, "postgres", "SELECT pg_reload_conf()")
	}
	freeze("on")
	id := 0
	apply := func() store.Outcome {
		id++
		return s.Apply(t.Context(), begin(lease.ID(fmt.Sprint("a/", id))))[0]
	}
	waitFor(t, "the setting to arrive", func() bool { return apply().Err != nil })
	out := apply()
	if !errors.Is(out.Err, store.ErrUnavailable) || errors.Is(out.Err, store.ErrUnknown) || !strings.Contains(out.Err.Error(), "read") {
		t.Errorf("Apply: %v", out.Err)
	}
	if exists(t, s, lease.ID(fmt.Sprint("a/", id))) {
		t.Error("it was done")
	}
	if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: "r"}}}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Write: %v, want ErrUnavailable", err)
	}
	if _, _, err := s.Suspension(t.Context()); err != nil {
		t.Errorf("reading: %v", err)
	}
	admin := testkit.Connect(t, cluster.AdminURL("postgres", "default_transaction_read_only=off"))
	if _, err := admin.Exec(t.Context(), "ALTER SYSTEM RESET default_transaction_read_only"); err != nil {
		t.Fatal(err)
	}
	cluster.Exec(t, "postgres", "SELECT pg_reload_conf()")
	waitFor(t, "writes to be taken", func() bool { return apply().Err == nil })
}

// A server that is away: each call says that nothing was done and that the store
// is what is missing.
func TestAway(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.Durable())
	s := openReal(t, postgres.Config{URL: secret.New(cluster.AdminURL("postgres")), Settle: 2 * time.Second, Timeout: 2 * time.Second})
	if err := s.Apply(t.Context(), begin("a/1"))[0].Err; err != nil {
		t.Fatal(err)
	}
	cluster.Stop(t, testkit.Immediate)
	if err := s.Apply(t.Context(), begin("a/2"))[0].Err; !errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrUnknown) {
		t.Errorf("Apply: %v, want ErrUnavailable", err)
	}
	if _, err := s.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindRole, Key: "r"}}}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Write: %v, want ErrUnavailable", err)
	}
	if _, err := s.Get(t.Context(), "a/1"); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("Get: %v, want ErrUnavailable", err)
	}
}

// Each session commits durably, whatever the default of its user; a stronger
// setting stays (A7).
func TestSessionsCommitDurably(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]string{"off": "on", "local": "on", "remote_write": "on", "on": "on", "remote_apply": "remote_apply"} {
		for _, pooled := range []bool{false, true} {
			cfg := configured(t)
			cfg.URL = secret.New(testkit.SharedDurablePostgres(t).AdminURL("postgres", "synchronous_commit="+given))
			cfg.Pooled = pooled
			s := openReal(t, cfg)
			if have := s.SynchronousCommit(t); have != want {
				t.Errorf("a default of %s (pooled: %v) becomes %s, want %s", given, pooled, have, want)
			}
		}
	}
}

// A6, A7: somebody cancels the wait for the synchronous standby, which makes the
// server say that a commit is done which no standby has. It is not answered
// before a later commit has been acknowledged.
func TestAWaitForTheStandbyIsCutShort(t *testing.T) {
	t.Parallel()
	cluster := testkit.Postgres(t, testkit.Durable())
	s := openReal(t, postgres.Config{URL: secret.New(cluster.AdminURL("postgres")), Settle: hangs, Timeout: hangs})
	admin := testkit.Connect(t, cluster.AdminURL("postgres", "synchronous_commit=local"))
	set := func(value string) {
		t.Helper()
		for _, q := range []string{"ALTER SYSTEM SET synchronous_standby_names = '" + value + "'", "SELECT pg_reload_conf()"} {
			if _, err := admin.Exec(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
	}
	waiting := func() (pid int) {
		// No row: nobody waits.
		_ = admin.QueryRow(t.Context(), "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep' LIMIT 1").Scan(&pid)
		return pid
	}
	set("nobody")
	answer := make(chan store.Outcome, 1)
	n := 0
	waitFor(t, "a commit that waits for the standby", func() bool {
		if len(answer) == 0 && n > 0 {
			return waiting() != 0
		}
		if n > 0 {
			<-answer // the setting had not arrived yet
		}
		n++
		item := begin(lease.ID(fmt.Sprint("a/", n)))
		go func() { answer <- s.Apply(t.Context(), item)[0] }()
		return false
	})
	id := lease.ID(fmt.Sprint("a/", n))
	if exists(t, s, id) {
		t.Error("it is visible before a standby has it")
	}
	if _, err := admin.Exec(t.Context(), "SELECT pg_cancel_backend($1)", waiting()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "it to be visible, and its fate to be looked for", func() bool { return exists(t, s, id) && waiting() != 0 })
	select {
	case out := <-answer:
		t.Errorf("it was answered without a standby: %v", out.Err)
	default:
	}
	set("")
	if out := <-answer; out.Err != nil || out.Lease.Version != 1 {
		t.Errorf("when the standby was given up: %v", out.Err)
	}
}
