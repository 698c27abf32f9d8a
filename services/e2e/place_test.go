//go:build e2e

package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/curfew-project/curfew/services/internal/config"
	"github.com/curfew-project/curfew/services/internal/topology"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/testkit/find"
)

// place is the distributed form: programs and servers on loopback addresses, as
// package topology runs them. What happens to it happens to the whole place.
type place struct {
	curfew   *curfew
	settings []string
	// uninitialised leaves the first start to sys/init, of one issuer.
	uninitialised bool

	topology *topology.Topology // nil before the first start
	started  chan error         // of the start that is under way
	cancel   context.CancelFunc
}

// launch implements [form]. The first start takes as long as it takes: it also
// makes what is started.
func (p *place) launch(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.started, p.cancel = make(chan error, 1), cancel
	if p.topology == nil {
		p.open(tb)
		p.started <- nil
		return
	}
	go func() { p.started <- p.topology.Start(ctx) }()
}

// eventStream is the name of the stream of events at the broker.
const eventStream = "CURFEW_EVENTS"

// startBrokers starts the servers of NATS alone and returns when they say where
// the stream ends, which is waited for for a limited time only by the programs.
func (p *place) startBrokers(tb testing.TB) {
	tb.Helper()
	for _, name := range p.named("nats-") {
		must(tb, p.part(tb, name).Start(tb.Context()), "start a broker")
	}
	_, cfg := p.config(tb)
	js := p.stream(tb, cfg)
	eventually(tb, hang, func() error {
		s, err := js.Stream(tb.Context(), eventStream)
		if err == nil {
			_, err = s.GetMsg(tb.Context(), s.CachedInfo().State.LastSeq)
		}
		return err
	})
}

// config is the configuration of a revoker, and its file.
func (p *place) config(tb testing.TB) (file string, cfg *config.Config) {
	tb.Helper()
	file = filepath.Join(p.topology.Dir, "revoker-1.hcl")
	read := config.Default()
	must(tb, read.Read(file), "read a configuration")
	return file, &read
}

// stream is the broker's side of what a configuration names.
func (p *place) stream(tb testing.TB, cfg *config.Config) jetstream.JetStream {
	tb.Helper()
	conn, err := nats.Connect(strings.Join(cfg.NATS.Servers, ","), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1))
	must(tb, err, "connect to NATS")
	tb.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	must(tb, err, "connect to JetStream")
	return js
}

func (p *place) open(tb testing.TB) {
	tb.Helper()
	cfg := topology.Config{
		Programs: programs(tb), Finder: find.Finder{Getenv: os.Getenv}, Environ: os.Environ(), Clock: clock.System{},
		Address: p.curfew.address, Settings: strings.Join(p.settings, "\n"),
	}
	if p.uninitialised {
		cfg.Uninitialised, cfg.Issuers = true, 1
	}
	t, err := topology.Open(context.Background(), cfg)
	var missing *find.NotFoundError
	if errors.As(err, &missing) && os.Getenv("CURFEW_CI") != "1" {
		tb.Skip(err)
	}
	must(tb, err, "start the programs")
	p.topology, p.curfew.dir = t, t.Dir
	tb.Cleanup(func() {
		if tb.Failed() {
			for _, name := range t.Names() {
				tb.Logf("the log of %s ends:\n%s", name, p.part(tb, name).LogTail())
			}
		}
		must(tb, t.Close(context.Background()), "end the programs")
	})
}

func (p *place) part(tb testing.TB, name string) topology.Part {
	tb.Helper()
	part, err := p.topology.Part(name)
	must(tb, err, "find a part")
	return part
}

// programs are the parts that are ours.
func (p *place) programs(tb testing.TB) (all []*topology.Program) {
	tb.Helper()
	for _, name := range p.topology.Names() {
		if program, ok := p.part(tb, name).(*topology.Program); ok {
			all = append(all, program)
		}
	}
	return all
}

// await implements [form]: until every program can work.
func (p *place) await(tb testing.TB) {
	tb.Helper()
	must(tb, p.settled(), "start the programs")
}

// settled waits for the end of a start.
func (p *place) settled() error {
	if p.started == nil {
		return nil
	}
	err := <-p.started
	p.started = nil
	return err
}

func (p *place) kill(tb testing.TB) {
	tb.Helper()
	p.cancel()
	if err := p.settled(); err != nil && !errors.Is(err, context.Canceled) { // it was broken off
		tb.Errorf("start the programs: %v", err)
	}
	must(tb, p.topology.Kill(context.Background()), "kill everything")
	for _, program := range p.programs(tb) {
		raceless(tb, program.Name(), p.log(tb, program))
	}
}

func (p *place) end(tb testing.TB) int {
	tb.Helper()
	if err := p.topology.Stop(context.Background()); err != nil {
		tb.Errorf("the programs did not stop: %v", err)
	}
	for _, program := range p.programs(tb) {
		if code := program.ExitCode(); code != 0 {
			return code
		}
	}
	return 0
}

func (p *place) log(tb testing.TB, program *topology.Program) string {
	tb.Helper()
	text, err := os.ReadFile(program.Log())
	must(tb, err, "read the log of "+program.Name())
	return string(text)
}

func (p *place) output(tb testing.TB) string {
	tb.Helper()
	var all strings.Builder
	for _, program := range p.programs(tb) {
		all.WriteString(p.log(tb, program))
	}
	return all.String()
}

func (p *place) store() string { return filepath.Join(p.topology.Postgres().Dir(), "data") }

func (p *place) folders() []string { return p.topology.Folders() }
