package topology

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit/find"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

// Config describes a topology. Programs, Finder, Environ and Clock are needed.
type Config struct {
	// Programs is the folder of curfew-issuer, curfew-revoker, curfew-auditor
	// and local.
	Programs string
	Finder   find.Finder
	Environ  []string // the caller's
	Clock    clock.Clock
	// Parent is where the folder is made; empty: the system's.
	Parent string
	// Address of the proxy; empty: a free port.
	Address string
	// How many of each; 2, 2, 2 and 3. One NATS server is no cluster.
	Issuers, Revokers, Auditors, Streams int
	// Uninitialised leaves the first start to sys/init: Open returns when that
	// can be asked.
	Uninitialised bool
	// Standby is whether the store has one, which is synchronous.
	Standby bool
	// Profiles makes every program's monitor serve profiles, too.
	Profiles bool
	// Settings are further lines of every program's configuration.
	Settings string
	// Via, if set, says at which address a program reaches a server, both by
	// their names as parts: a test puts proxies between them.
	Via func(program, server, address string) string
}

// Topology is what runs.
type Topology struct {
	Dir string // everything temporary
	URL string // of the proxy

	cfg      Config
	environ  []string
	parts    []Part
	ports    []*server.Port
	postgres *server.Postgres
	standby  *server.Postgres   // nil: there is none
	retired  []*server.Postgres // was the store before another was promoted
	// Passwords in the store: of Curfew's login, and of the superuser.
	password, superuser string
	// What programs are told of: addresses, and URLs.
	streams, auditors []string
	issuers, monitors []string
}

// names of the parts that there is one of.
const (
	Store   = "store"
	Standby = "store-standby" // with Config.Standby, until it is promoted
	Index   = "index"
	Replica = "index-replica"
	Proxy   = "proxy"
)

// Files below Dir.
const (
	keyFile      = "seal.key"
	passwordFile = "store-password"
	streamDir    = "nats"
)

// CloseWithin bounds the orderly part of a Close.
const CloseWithin = time.Minute

const (
	startHangs = time.Minute // longer is a hang
	poll       = 50 * time.Millisecond
)

// Open starts everything and returns when clients can be served.
func Open(ctx context.Context, cfg Config) (_ *Topology, err error) {
	cfg.Issuers, cfg.Revokers = cmp.Or(cfg.Issuers, 2), cmp.Or(cfg.Revokers, 2)
	cfg.Auditors, cfg.Streams = cmp.Or(cfg.Auditors, 2), cmp.Or(cfg.Streams, 3)
	t := &Topology{cfg: cfg, password: rand.Text(), superuser: rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Close(context.WithoutCancel(ctx)))
		}
	}()
	if t.Dir, err = os.MkdirTemp(cfg.Parent, "curfew-local-"); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	home := filepath.Join(t.Dir, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return nil, fmt.Errorf("make a home folder: %w", err)
	}
	t.environ = append(Environ(cfg.Environ, home), "TMPDIR="+home)
	if err := os.WriteFile(filepath.Join(t.Dir, passwordFile), []byte(t.password), 0o600); err != nil {
		return nil, fmt.Errorf("write the store's password: %w", err)
	}
	for _, add := range []func(context.Context) error{
		t.addStore, t.addStandby, t.addIndex, t.addStreams, t.addPrograms, t.addProxy,
	} {
		if err := add(ctx); err != nil {
			return nil, err
		}
	}
	waited := t.programs()
	if cfg.Uninitialised { // all others wait for the installation
		waited = waited[len(waited)-1:]
	}
	return t, t.await(ctx, waited)
}

// Environ is base without what could lead a program to servers, settings or
// secrets of the caller's, and with HOME as its home folder.
func Environ(base []string, home string) []string {
	return slices.DeleteFunc(server.Environ(base, home), func(entry string) bool {
		return strings.HasPrefix(entry, "CURFEW_") || strings.HasPrefix(entry, "XDG_")
	})
}

// Part returns a part by its name.
func (t *Topology) Part(name string) (Part, error) {
	i := slices.IndexFunc(t.parts, func(p Part) bool { return p.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("no part is named %q; there are: %s", name, strings.Join(t.Names(), ", "))
	}
	return t.parts[i], nil
}

// Names lists the parts in the order of their start.
func (t *Topology) Names() []string {
	out := make([]string, len(t.parts))
	for i, p := range t.parts {
		out[i] = p.Name()
	}
	return out
}

// RootToken is the token of the first start.
func (t *Topology) RootToken() (secret.Value, error) {
	text, err := os.ReadFile(t.RootTokenFile())
	if err != nil {
		return secret.Value{}, fmt.Errorf("read the root token: %w", err)
	}
	return secret.New(strings.TrimSpace(string(text))), nil
}

// RootTokenFile is where the first start writes it.
func (t *Topology) RootTokenFile() string { return filepath.Join(t.Dir, "root-token") }

// Monitors are the URLs at which the roles tell of their health.
func (t *Topology) Monitors() []string { return t.monitors }

// LedgerDir is the folder that the auditors share.
func (t *Topology) LedgerDir() string { return filepath.Join(t.Dir, "audit", "ledger") }

// LogDir is where files of audit devices may be. Auditors share it.
func (t *Topology) LogDir() string { return filepath.Join(t.Dir, "logs") }

// KeyFile is the master key, which all programs share.
func (t *Topology) KeyFile() string { return filepath.Join(t.Dir, keyFile) }

// Postgres is the cluster of the store; after a Promote another one.
func (t *Topology) Postgres() *server.Postgres { return t.postgres }

// Folders are all that something is kept in: Dir, and those of the servers, which
// run as another user where we are root.
func (t *Topology) Folders() []string {
	out := []string{t.Dir}
	for _, p := range t.parts {
		if f, ok := p.(*foreign); ok {
			out = append(out, f.Dir())
		}
	}
	for _, p := range t.retired {
		out = append(out, p.Dir())
	}
	return out
}

// LogTails are the ends of all logs, for an error that a person reads.
func (t *Topology) LogTails() string {
	var out strings.Builder
	for _, p := range t.parts {
		fmt.Fprintf(&out, "%s:\n%s\n", p.Name(), p.LogTail())
	}
	return out.String()
}

// Ready returns when every program that runs says that it can work, and the
// proxy serves.
func (t *Topology) Ready(ctx context.Context) error {
	return t.await(ctx, slices.DeleteFunc(t.programs(), func(p *Program) bool { return !p.Running() }))
}

// programs are the parts that say when they can work.
func (t *Topology) programs() (all []*Program) {
	for _, p := range t.parts {
		if program, ok := p.(*Program); ok && program.probe != "" {
			all = append(all, program)
		}
	}
	return all
}

// await returns when all of these can work. One that has ended ends the wait:
// others may wait for it.
func (t *Topology) await(ctx context.Context, programs []*Program) error {
	ctx, cancel := context.WithTimeout(ctx, startHangs)
	defer cancel()
	ended, end := context.WithCancelCause(ctx)
	defer end(nil)
	errs := make([]error, len(programs))
	var all sync.WaitGroup
	for i, p := range programs {
		all.Go(func() {
			if err := p.await(ended, t.cfg.Clock); err != nil {
				errs[i] = fmt.Errorf("start %s: %w; its log ends:\n%s", p.Name(), err, p.LogTail())
				end(errs[i])
			}
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err == nil || ctx.Err() != nil {
		return err
	}
	return context.Cause(ended) // the others only waited
}

// Stop stops every part in good order, the last started first.
func (t *Topology) Stop(ctx context.Context) error {
	var err error
	for _, p := range slices.Backward(t.parts) {
		err = errors.Join(err, p.Stop(ctx))
	}
	return err
}

// Start starts every part that does not run, and returns when all are ready.
func (t *Topology) Start(ctx context.Context) error {
	for _, p := range t.parts {
		if p.Running() {
			continue
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
	}
	return t.await(ctx, t.programs())
}

// Kill ends the named parts, all where none is named, as a power cut would: at
// once.
func (t *Topology) Kill(ctx context.Context, names ...string) error {
	errs := make([]error, len(t.parts))
	var all sync.WaitGroup
	for i, p := range t.parts {
		if len(names) == 0 || slices.Contains(names, p.Name()) {
			all.Go(func() { errs[i] = p.Kill(ctx) })
		}
	}
	all.Wait()
	return errors.Join(errs...)
}

// Close ends what runs, in order within CloseWithin and else by force, and
// removes every file.
func (t *Topology) Close(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, CloseWithin)
	defer cancel()
	err := t.Stop(bounded)
	for _, p := range slices.Backward(t.parts) {
		err = errors.Join(err, p.Close(ctx))
	}
	t.parts = nil
	for _, p := range t.retired {
		err = errors.Join(err, p.Close(ctx))
	}
	t.retired = nil
	for _, p := range t.ports {
		err = errors.Join(err, p.Close())
	}
	t.ports = nil
	if t.Dir != "" {
		err = errors.Join(err, os.RemoveAll(t.Dir))
	}
	return err
}

// via is the address at which a program reaches a server.
func (t *Topology) via(program, server, address string) string {
	if t.cfg.Via == nil {
		return address
	}
	return t.cfg.Via(program, server, address)
}

// port takes a port for as long as the topology lives.
func (t *Topology) port() (*server.Port, error) {
	p, err := server.TakePort()
	if err != nil {
		return nil, err
	}
	t.ports = append(t.ports, p)
	return p, nil
}
