package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/curfew-project/curfew/shared/testkit/find"
)

// answerHangs bounds one command to Redis.
const answerHangs = 10 * time.Second

// RedisConfig describes a Redis server. Programs is required.
type RedisConfig struct {
	Programs find.Programs
	// Environ is the caller's environment (os.Environ() in a program).
	Environ []string
	// Settings are directives of redis.conf, without quotes; a value is split at
	// blanks into the directive's arguments.
	Settings map[string]string
	// Watch makes the server a Sentinel: it watches the master at this host:port,
	// under the name "curfew", and alone decides to replace it. Settings are not
	// used then.
	Watch string
	// TempDir is where the folder is made; empty: the system's.
	TempDir string
}

// Redis is one Redis server with an append-only file, so that its data outlive
// a restart and a kill. Its methods may be called concurrently.
type Redis struct {
	config   RedisConfig
	launcher *launcher

	mu      sync.Mutex
	process *process // nil until the first start
}

// NewRedis takes a port and a folder. It starts nothing.
func NewRedis(config RedisConfig) (*Redis, error) {
	l, err := newLauncher(config.Programs, config.Environ, config.TempDir, "curfew-redis-")
	if err != nil {
		return nil, fmt.Errorf("make a Redis: %w", err)
	}
	return &Redis{config: config, launcher: l}, nil
}

// Start starts the server and returns when it answers and has its data.
func (r *Redis) Start(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.process.running() {
		return errors.New("start Redis: it is running")
	}
	hangs := startHangs
	if r.launcher.programs.Source == find.Docker {
		hangs = dockerStartHangs
	}
	ctx, cancel := context.WithTimeout(ctx, hangs)
	defer cancel()
	args, err := r.arguments()
	if err != nil {
		return fmt.Errorf("start Redis: %w", err)
	}
	child, err := r.launcher.server(args...)
	if err != nil {
		return fmt.Errorf("start Redis: %w", err)
	}
	r.process = child
	err = until(ctx, func() (bool, error) {
		if !child.running() {
			return false, errors.New("it ended by itself")
		}
		return r.command(ctx, "PING") == nil, nil
	})
	if err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopHangs)
		defer cancel()
		log, _ := r.Log()
		return errors.Join(fmt.Errorf("start Redis: %w; its log ends: %s", err, tail(log)), r.kill(stop))
	}
	return nil
}

// arguments are those of the server's command line.
func (r *Redis) arguments() ([]string, error) {
	if r.config.Watch != "" {
		return r.sentinel()
	}
	args := []string{
		"--port", strconv.Itoa(r.Port()), "--bind", r.launcher.listen(), "--dir", r.launcher.dir,
		"--daemonize", "no", "--save", "", "--appendonly", "yes", "--appendfsync", "no",
		// Docker forwards from an address that Redis does not take for its own.
		"--protected-mode", "no",
	}
	for name, value := range r.config.Settings {
		args = append(args, "--"+name)
		if value == "" {
			args = append(args, "")
		}
		args = append(args, strings.Fields(value)...)
	}
	return args, nil
}

// sentinel writes the file that a Sentinel keeps its state in, at the first
// start.
func (r *Redis) sentinel() ([]string, error) {
	path := filepath.Join(r.launcher.dir, "sentinel.conf")
	if _, err := os.Stat(path); err == nil {
		return []string{path, "--sentinel"}, nil
	}
	host, port, err := net.SplitHostPort(r.config.Watch)
	if err != nil {
		return nil, fmt.Errorf("watch a Redis: %w", err)
	}
	lines := []string{
		"port " + strconv.Itoa(r.Port()), "bind " + r.launcher.listen(), "dir " + r.launcher.dir, "protected-mode no",
		"sentinel monitor curfew " + host + " " + port + " 1",
		"sentinel down-after-milliseconds curfew 500",
		"sentinel failover-timeout curfew 5000",
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("write the Sentinel's file: %w", err)
	}
	return []string{path, "--sentinel"}, give(path, r.launcher.owner)
}

// Stop stops the server in good order and returns when it has ended.
func (r *Redis) Stop(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.process.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopHangs)
	defer cancel()
	if err := r.process.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop Redis: %w", err)
	}
	if err := r.process.wait(ctx); err != nil {
		return fmt.Errorf("stop Redis: %w", err)
	}
	return nil
}

// Kill ends the server with SIGKILL and returns when it has ended.
func (r *Redis) Kill(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, stopHangs)
	defer cancel()
	return r.kill(ctx)
}

func (r *Redis) kill(ctx context.Context) error {
	if !r.process.running() {
		return nil
	}
	if err := r.launcher.kill(ctx, r.process); err != nil {
		return fmt.Errorf("kill Redis: %w", err)
	}
	return nil
}

// FlushAll removes all data.
func (r *Redis) FlushAll(ctx context.Context) error {
	if err := r.command(ctx, "FLUSHALL"); err != nil {
		return fmt.Errorf("flush Redis: %w", err)
	}
	return nil
}

// command sends a command without arguments and takes a simple answer, in the
// inline form of the protocol: a client library is not needed for this.
func (r *Redis) command(ctx context.Context, command string) error {
	ctx, cancel := context.WithTimeout(ctx, answerHangs)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp4", r.Address())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is buffered
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := conn.Write([]byte(command + "\r\n")); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(answer, "+") {
		return fmt.Errorf("%s: %s", command, strings.TrimSpace(answer))
	}
	return nil
}

// Close ends the server and removes its folder. It may be called again.
func (r *Redis) Close(ctx context.Context) error {
	if err := r.Kill(ctx); err != nil {
		return err // it may still use the folder
	}
	return r.launcher.close()
}

// Running reports whether the server's process exists.
func (r *Redis) Running() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.running()
}

// Pid is the process id of the server, or of the docker client; 0 when it does
// not run.
func (r *Redis) Pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.process.running() {
		return 0
	}
	return r.process.cmd.Process.Pid
}

// Port is the server's port on 127.0.0.1.
func (r *Redis) Port() int { return r.launcher.port.Number }

// Address is the server's host:port.
func (r *Redis) Address() string { return r.launcher.port.Address() }

// Dir is the server's folder, which holds data, log and home.
func (r *Redis) Dir() string { return r.launcher.dir }

// Log is what the server has written since the first start.
func (r *Redis) Log() ([]byte, error) { return os.ReadFile(r.launcher.log()) }
