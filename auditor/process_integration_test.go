//go:build integration

package auditor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/curfew-project/curfew/auditor"
	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/publish"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/postgres"
	"github.com/curfew-project/curfew/shared/testkit"
)

// childEnv makes the test binary an auditor: the JSON of its [member].
const childEnv = "CURFEW_TEST_AUDITOR"

// listens is what it says once a signal stops it in order.
const listens = "listens"

// member is one of several auditors that share a ledger.
type member struct{ Name, Dir, Ledger, URL string }

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := beAuditor(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// beAuditor runs an auditor until SIGTERM; its log goes to standard output.
func beAuditor(text string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var m member
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return err
	}
	go func() { // a test that died leaves nobody behind
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	fmt.Println(listens)
	log := zerolog.New(os.Stdout)
	s, err := postgres.Open(ctx, clock.System{}, log, postgres.Config{URL: secret.New(m.URL)})
	if err != nil {
		return unlessStopped(ctx, err)
	}
	defer s.Close()
	a, err := auditor.New(ctx, auditor.Deps{Stream: bus.Nop{}, Store: s, Locks: s, Clock: clock.System{}, Log: log},
		auditor.Config{Dir: m.Dir, LedgerDir: m.Ledger, Installation: "test", Name: m.Name})
	if err != nil {
		return unlessStopped(ctx, err)
	}
	return a.Run(ctx)
}

// unlessStopped is err, but for one of a stop while it starts.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // asked to stop: that is no failure
	}
	return err
}

// group is auditors as processes, on one store and one ledger.
type group struct {
	t      *testing.T
	dir    string
	url    string
	store  *postgres.Store
	lock   store.Lock // of the publisher
	n      int64      // events made
	all    map[string]*exec.Cmd
	ended  map[string]chan error
	mu     sync.Mutex
	leader string // who said last that it appends
	terms  int    // how often one said so
}

func newGroup(t *testing.T) *group {
	t.Helper()
	cluster := testkit.Postgres(t, testkit.Durable())
	g := &group{t: t, dir: t.TempDir(), url: cluster.AdminURL("postgres"), all: map[string]*exec.Cmd{}, ended: map[string]chan error{}}
	var err error
	if g.store, err = postgres.Open(t.Context(), clock.System{}, zerolog.Nop(), postgres.Config{URL: secret.New(g.url)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.store.Close() })
	lock, ok, err := g.store.Acquire(t.Context(), publish.LockName, "test", time.Hour)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	g.lock = lock
	return g
}

func (g *group) start(name string) {
	g.t.Helper()
	text, err := json.Marshal(member{Name: name, Dir: filepath.Join(g.dir, name), Ledger: filepath.Join(g.dir, "ledger"), URL: g.url})
	if err != nil {
		g.t.Fatal(err)
	}
	cmd := exec.CommandContext(g.t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if _, err := cmd.StdinPipe(); err != nil { // ends with this process
		g.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	ended, lines := make(chan error, 1), bufio.NewScanner(out)
	g.all[name], g.ended[name] = cmd, ended
	if !lines.Scan() || lines.Text() != listens {
		g.t.Fatalf("%s begins with %q", name, lines.Text())
	}
	go func() {
		for lines.Scan() {
			if strings.Contains(lines.Text(), `"this auditor appends"`) {
				g.mu.Lock()
				g.leader, g.terms = name, g.terms+1
				g.mu.Unlock()
			}
		}
		ended <- cmd.Wait()
	}()
	g.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		if err := <-ended; err == nil {
			g.t.Logf("%s had stopped in order", name)
		}
	})
}

// elected waits until more than that many terms have begun, and says who leads.
func (g *group) elected(terms int) (name string) {
	g.t.Helper()
	eventually(g.t, "one appends", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		name = g.leader
		return g.terms > terms
	})
	return name
}

func (g *group) signal(name string, s syscall.Signal) {
	g.t.Helper()
	if err := g.all[name].Process.Signal(s); err != nil {
		g.t.Fatal(err)
	}
}

// end ends a process and waits for it.
func (g *group) end(name string, s syscall.Signal) {
	g.t.Helper()
	g.signal(name, s)
	err := <-g.ended[name]
	g.ended[name] <- err // for the clean-up
	if s == syscall.SIGTERM && err != nil {
		g.t.Errorf("%s did not stop in order: %v", name, err)
	}
}

// make commits and numbers events.
func (g *group) make(n int) {
	g.t.Helper()
	events := make([]event.Event, n)
	for i := range events {
		g.n++
		events[i] = event.Event{Type: event.LeaseRevoked, Subject: fmt.Sprintf("lease/%d", g.n)}
	}
	if err := g.store.Append(g.t.Context(), events...); err != nil {
		g.t.Fatal(err)
	}
	if _, _, err := g.store.Number(g.t.Context(), g.lock, n); err != nil {
		g.t.Fatal(err)
	}
}

func (g *group) confirmed() int64 {
	g.t.Helper()
	p, err := g.store.Confirmed(g.t.Context(), publish.Ledger)
	if err != nil {
		g.t.Fatal(err)
	}
	return p.Number
}

func (g *group) recorded() {
	g.t.Helper()
	eventually(g.t, "everything is on record", func() bool { return g.confirmed() == g.n })
}

// fence is that of the last checkpoint, once it covers everything.
func (g *group) fence() (fence uint64) {
	g.t.Helper()
	r := ledger.NewReader(filepath.Join(g.dir, "ledger"))
	eventually(g.t, "a checkpoint", func() bool {
		key, err1 := r.PublicKey()
		raw, err2 := r.Checkpoint(1)
		if err1 != nil || err2 != nil {
			return false
		}
		cp, err := ledger.ParseCheckpoint(key, raw)
		fence = cp.Fence
		return err == nil && cp.Size == g.n
	})
	return fence
}

// complete: each event is on record once, in order, and the ledger verifies.
func (g *group) complete() {
	g.t.Helper()
	dir := filepath.Join(g.dir, "ledger")
	n := int64(0)
	for e, err := range ledger.NewReader(dir).Entries(g.t.Context(), 1, 1, 1<<40) {
		var got event.Event
		if err == nil {
			err = json.Unmarshal(e.Data, &got)
		}
		if n++; err != nil || got.Position.Number != n || got.Subject != fmt.Sprintf("lease/%d", n) {
			g.t.Fatalf("entry %d is %s, %v", n, e.Data, err)
		}
	}
	if n != g.n {
		g.t.Errorf("%d entries, want %d", n, g.n)
	}
	var out strings.Builder
	if err := auditor.Verify(g.t.Context(), dir, "", nil, &out); err != nil {
		g.t.Errorf("verify: %v\n%s", err, out.String())
	}
}

// D5: processes that are killed and stopped at any moment, under load. Each
// take-over raises the fence that checkpoints bear.
func TestAuditorsKilled(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	names := []string{"a", "b", "c"}
	for _, name := range names {
		g.start(name)
	}
	var before uint64
	for round := range 6 {
		leader := g.elected(round)
		g.make(1 + rand.IntN(800))
		how := []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM}[round%2]
		if rand.IntN(2) == 0 {
			g.recorded()
		} // else whatever it has begun
		begin := time.Now()
		g.end(leader, how)
		g.make(1 + rand.IntN(800))
		g.elected(round + 1)
		t.Logf("after %s: another leads after %s", how, time.Since(begin).Round(time.Millisecond))
		g.recorded()
		if fence := g.fence(); fence <= before {
			t.Errorf("the checkpoint bears fence %d, there was %d", fence, before)
		} else {
			before = fence
		}
		g.start(leader)
	}
	for _, name := range names {
		g.end(name, syscall.SIGTERM)
	}
	g.complete()
}

// D5: a leader that stands still, as a machine does that is paused, loses its lock
// in the store and keeps others out of the ledger by its own; when it goes on it
// gives way.
func TestPausedAuditorGivesWay(t *testing.T) {
	t.Parallel()
	g := newGroup(t)
	g.start("a")
	g.elected(0)
	g.make(300)
	g.recorded()
	g.start("b")
	g.signal("a", syscall.SIGSTOP)
	g.make(300)
	if got := g.elected(1); got != "b" {
		t.Fatalf("%q took over", got)
	}
	for range 20 { // b tries, and must not get in
		if at := g.confirmed(); at != 300 {
			t.Fatalf("confirmed is %d while the ledger is another's", at)
		}
		time.Sleep(100 * time.Millisecond)
	}
	g.signal("a", syscall.SIGCONT)
	g.recorded()
	g.end("b", syscall.SIGTERM) // and a leads again
	g.make(300)
	g.recorded()
	g.end("a", syscall.SIGTERM)
	g.complete()
}
