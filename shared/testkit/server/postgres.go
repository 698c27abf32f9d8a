package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/curfew-project/curfew/shared/testkit/find"
)

// Superuser is the name of the superuser of every cluster made here.
const Superuser = "postgres"

// How long a start or an orderly stop may take before it counts as a hang. An
// image may have to be fetched first.
const (
	startHangs       = time.Minute
	dockerStartHangs = 10 * time.Minute
	stopHangs        = time.Minute
)

// StopMode says what happens to the clients of a server that is stopped.
type StopMode syscall.Signal

// The modes of pg_ctl.
const (
	Smart     = StopMode(syscall.SIGTERM) // wait for clients to leave
	Fast      = StopMode(syscall.SIGINT)  // end their sessions
	Immediate = StopMode(syscall.SIGQUIT) // as a crash: recover at the next start
)

// PostgresConfig describes a cluster. Programs and Password are required.
type PostgresConfig struct {
	Programs find.Programs
	// Environ is the caller's environment (os.Environ() in a program).
	Environ []string
	// Password is the superuser's.
	Password string
	// Certificate and Key, in PEM, turn TLS on.
	Certificate, Key []byte
	// HostSSLOnly refuses connections without TLS.
	HostSSLOnly bool
	// Durable keeps fsync on; otherwise a crash of the machine (not of the
	// server) may lose data.
	Durable bool
	// Settings are lines of postgresql.conf; a value is quoted here.
	Settings map[string]string
	// TempDir is where the folder is made; empty: the system's.
	TempDir string
}

// Postgres is one Postgres cluster. Its methods may be called concurrently.
type Postgres struct {
	config   PostgresConfig
	launcher *launcher

	mu      sync.Mutex
	process *process // nil until the first start
}

// NewPostgres takes a port and a folder. It starts nothing.
func NewPostgres(config PostgresConfig) (*Postgres, error) {
	if config.Password == "" {
		return nil, errors.New("make a cluster: its superuser needs a password")
	}
	l, err := newLauncher(config.Programs, config.Environ, config.TempDir, "curfew-postgres-")
	if err != nil {
		return nil, fmt.Errorf("make a cluster: %w", err)
	}
	return &Postgres{config: config, launcher: l}, nil
}

// Init makes the data folder (initdb) and configures it.
func (p *Postgres) Init(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.startHangs())
	defer cancel()
	l := p.launcher
	pwfile := filepath.Join(l.dir, "pwfile")
	if err := write(pwfile, []byte(p.config.Password+"\n"), l.owner); err != nil {
		return fmt.Errorf("hand over the superuser's password: %w", err)
	}
	cmd := l.tool(ctx, nil, "initdb", "--pgdata="+p.data(), "--username="+Superuser, "--pwfile="+pwfile,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if err := errors.Join(run(cmd), os.Remove(pwfile)); err != nil {
		return fmt.Errorf("make a data folder with initdb: %w", err)
	}
	return p.configure()
}

// InitStandby makes the data folder as a streaming standby of primary
// (pg_basebackup), which must be running.
func (p *Postgres) InitStandby(ctx context.Context, primary *Postgres) error {
	l := p.launcher
	if l.published() {
		return errors.New("make a standby: servers from docker cannot reach each other here; install Postgres")
	}
	ctx, cancel := context.WithTimeout(ctx, p.startHangs())
	defer cancel()
	cmd := l.tool(ctx, []string{"PGPASSWORD=" + primary.config.Password}, "pg_basebackup",
		"--host=127.0.0.1", "--port="+strconv.Itoa(primary.Port()), "--username="+Superuser, "--no-password",
		"--pgdata="+p.data(), "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	if err := run(cmd); err != nil {
		return fmt.Errorf("copy the primary with pg_basebackup: %w", err)
	}
	return nil
}

// configure writes postgresql.conf and pg_hba.conf. The port is given at each
// start instead, because a standby is a copy of this folder.
func (p *Postgres) configure() error {
	var conf strings.Builder
	set := func(name, value string) {
		fmt.Fprintf(&conf, "%s = '%s'\n", name, strings.ReplaceAll(value, "'", "''"))
	}
	conf.WriteString("\n")
	set("unix_socket_directories", "")
	set("password_encryption", "scram-sha-256")
	if !p.config.Durable {
		// Not synchronous_commit or full_page_writes, too: a kill of the server
		// alone could then lose a commit, or tear a page.
		set("fsync", "off")
	}
	if p.config.Certificate != nil {
		// Relative to the data folder, so that a standby finds its copies.
		set("ssl", "on")
		set("ssl_cert_file", "server.crt")
		set("ssl_key_file", "server.key")
		for name, content := range map[string][]byte{"server.crt": p.config.Certificate, "server.key": p.config.Key} {
			if err := write(filepath.Join(p.data(), name), content, p.launcher.owner); err != nil {
				return fmt.Errorf("write the certificate: %w", err)
			}
		}
	}
	for name, value := range p.config.Settings {
		set(name, value)
	}
	file, err := os.OpenFile(filepath.Join(p.data(), "postgresql.conf"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("write postgresql.conf: %w", err)
	}
	_, err = file.WriteString(conf.String())
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write postgresql.conf: %w", err)
	}

	kind, from := "host", "127.0.0.1/32"
	if p.config.HostSSLOnly {
		kind = "hostssl"
	}
	if p.launcher.published() {
		from = "all" // docker forwards from an address of its own
	}
	hba := fmt.Sprintf("%[1]s all all %[2]s scram-sha-256\n%[1]s replication all %[2]s scram-sha-256\n", kind, from)
	if err := write(filepath.Join(p.data(), "pg_hba.conf"), []byte(hba), p.launcher.owner); err != nil {
		return fmt.Errorf("write pg_hba.conf: %w", err)
	}
	return nil
}

// Start starts the server and returns when it takes connections.
func (p *Postgres) Start(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process.running() {
		return errors.New("start Postgres: it is running")
	}
	ctx, cancel := context.WithTimeout(ctx, p.startHangs())
	defer cancel()
	if p.Contained() {
		// Process ids of one container mean nothing in the next.
		if err := os.Remove(p.pidFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("start Postgres: %w", err)
		}
	}
	child, err := p.launcher.server("-D", p.data(), "-p", strconv.Itoa(p.Port()), "-c", "listen_addresses="+p.launcher.listen())
	if err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	p.process = child
	err = until(ctx, func() (bool, error) {
		if !child.running() {
			return false, errors.New("it ended by itself")
		}
		return p.ready(child), nil
	})
	if err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopHangs)
		defer cancel()
		log, _ := p.Log()
		return errors.Join(fmt.Errorf("start Postgres: %w; its log ends: %s", err, tail(log)), p.kill(stop))
	}
	return nil
}

// ready reads what pg_ctl reads: line 1 of postmaster.pid is the process, line
// 8 its state.
func (p *Postgres) ready(child *process) bool {
	content, err := os.ReadFile(p.pidFile())
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	if len(lines) < 8 {
		return false
	}
	if !p.Contained() && lines[0] != strconv.Itoa(child.cmd.Process.Pid) {
		return false // left behind by a killed one
	}
	state := strings.TrimSpace(lines[7])
	return state == "ready" || state == "standby"
}

// Stop stops the server and returns when it has ended. One that is not running
// is stopped already.
func (p *Postgres) Stop(ctx context.Context, mode StopMode) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.process.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopHangs)
	defer cancel()
	if err := p.process.signal(syscall.Signal(mode)); err != nil {
		return fmt.Errorf("stop Postgres: %w", err)
	}
	if err := p.process.wait(ctx); err != nil {
		return fmt.Errorf("stop Postgres: %w", err)
	}
	return nil
}

// Kill ends the server and all its children with SIGKILL and returns when none
// of them exists.
func (p *Postgres) Kill(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stopHangs)
	defer cancel()
	return p.kill(ctx)
}

func (p *Postgres) kill(ctx context.Context) error {
	if !p.process.running() {
		return nil
	}
	if err := p.launcher.kill(ctx, p.process); err != nil {
		return fmt.Errorf("kill Postgres: %w", err)
	}
	return nil
}

// Close ends the server and removes its folder. It may be called again.
func (p *Postgres) Close(ctx context.Context) error {
	if err := p.Stop(ctx, Immediate); err != nil {
		if err = errors.Join(err, p.Kill(ctx)); p.Running() {
			return err // it still uses the folder
		}
	}
	return p.launcher.close()
}

// Running reports whether the server's process exists.
func (p *Postgres) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.process.running()
}

// Pid is the process id of the postmaster, or of the docker client; 0 when it
// does not run.
func (p *Postgres) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.process.running() {
		return 0
	}
	return p.process.cmd.Process.Pid
}

// Contained reports whether the server lives in a container, where process ids
// are not those of this machine.
func (p *Postgres) Contained() bool { return p.launcher.programs.Source == find.Docker }

// Port is the server's port on 127.0.0.1.
func (p *Postgres) Port() int { return p.launcher.port.Number }

// Password is the superuser's.
func (p *Postgres) Password() string { return p.config.Password }

// Dir is the server's folder, which holds data, log and home.
func (p *Postgres) Dir() string { return p.launcher.dir }

// Log is what the server has written since Init.
func (p *Postgres) Log() ([]byte, error) { return os.ReadFile(p.launcher.log()) }

func (p *Postgres) data() string    { return filepath.Join(p.launcher.dir, "data") }
func (p *Postgres) pidFile() string { return filepath.Join(p.data(), "postmaster.pid") }

func (p *Postgres) startHangs() time.Duration {
	if p.Contained() {
		return dockerStartHangs
	}
	return startHangs
}
