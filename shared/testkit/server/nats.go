package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// NATSConfig describes a NATS server. Command is required.
type NATSConfig struct {
	// Command is the server's command line; the path of its configuration file
	// is appended.
	Command []string
	// Environ is the caller's environment (os.Environ() in a program); Extra is
	// added to it.
	Environ, Extra []string
	// Settings are the server's configuration besides what is needed to be
	// found, in its own format. {{dir}} stands for the server's folder.
	Settings string
	// TempDir is where the folder is made; empty: the system's.
	TempDir string
}

// NATS is one NATS server with JetStream as a child process. Its methods may be
// called concurrently.
type NATS struct {
	name          string
	config        NATSConfig
	dir           string
	port, cluster *Port
	routes        []string // host:port of each server of the cluster; nil: alone

	mu      sync.Mutex
	process *process // nil until the first start
	closing sync.Once
}

// NewNATS takes ports and folders for count servers, which form a cluster if
// they are more than one. It starts nothing.
func NewNATS(count int, config NATSConfig) (_ []*NATS, err error) {
	var servers []*NATS
	defer func() {
		if err != nil {
			for _, n := range servers {
				err = errors.Join(err, n.remove())
			}
		}
	}()
	var routes []string
	for i := range count {
		n := &NATS{name: fmt.Sprintf("n%d", i+1), config: config}
		servers = append(servers, n)
		if n.dir, err = folder(config.TempDir, "curfew-nats-", nil); err != nil {
			return nil, err
		}
		if n.port, err = TakePort(); err != nil {
			return nil, err
		}
		if n.cluster, err = TakePort(); err != nil {
			return nil, err
		}
		routes = append(routes, n.cluster.Address())
	}
	if count > 1 {
		for _, n := range servers {
			n.routes = routes
		}
	}
	return servers, nil
}

// Start starts the server and returns when it takes connections; a cluster may
// still lack a leader.
func (n *NATS) Start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process.running() {
		return errors.New("start NATS: it is running")
	}
	ctx, cancel := context.WithTimeout(ctx, startHangs)
	defer cancel()
	file := filepath.Join(n.dir, "nats.conf")
	if err := os.WriteFile(file, []byte(n.configuration()), 0o600); err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	log, err := os.OpenFile(n.log(), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(n.config.Command[0], append(n.config.Command[1:len(n.config.Command):len(n.config.Command)], file)...)
	cmd.Env = append(Environ(n.config.Environ, n.dir), n.config.Extra...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, log, log
	child, err := start(cmd, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	n.process = child
	err = until(ctx, func() (bool, error) {
		if !child.running() {
			return false, errors.New("it ended by itself")
		}
		return n.answers(ctx), nil
	})
	if err != nil {
		text, _ := n.Log()
		return errors.Join(fmt.Errorf("start NATS: %w; its log ends: %s", err, tail(text)), n.end(context.WithoutCancel(ctx), syscall.SIGKILL))
	}
	return nil
}

func (n *NATS) answers(ctx context.Context) bool {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp4", n.Address())
	return err == nil && conn.Close() == nil
}

func (n *NATS) configuration() string {
	var b strings.Builder
	fmt.Fprintf(&b, "server_name: %s\nlisten: %q\njetstream { store_dir: %q }\n", n.name, n.Address(), n.Store())
	if n.routes != nil {
		fmt.Fprintf(&b, "cluster {\n  name: curfew\n  listen: %q\n  routes: [", n.cluster.Address())
		for _, r := range n.routes {
			fmt.Fprintf(&b, "%q, ", "nats://"+r)
		}
		b.WriteString("]\n}\n")
	}
	b.WriteString(strings.ReplaceAll(n.config.Settings, "{{dir}}", n.dir))
	return b.String()
}

// Stop stops the server in good order and returns when it has ended.
func (n *NATS) Stop(ctx context.Context) error { return n.locked(ctx, syscall.SIGTERM) }

// Kill ends the server with SIGKILL and returns when it has ended.
func (n *NATS) Kill(ctx context.Context) error { return n.locked(ctx, syscall.SIGKILL) }

func (n *NATS) locked(ctx context.Context, sig syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.end(ctx, sig)
}

func (n *NATS) end(ctx context.Context, sig syscall.Signal) error {
	if !n.process.running() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stopHangs)
	defer cancel()
	if err := errors.Join(n.process.signal(sig), n.process.wait(ctx)); err != nil {
		return fmt.Errorf("end NATS: %w", err)
	}
	return nil
}

// Pause stops the server's process without ending it: connections stay, and
// nothing answers. Resume lets it go on.
func (n *NATS) Pause() error { return n.signal(syscall.SIGSTOP) }

// Resume is the inverse of Pause.
func (n *NATS) Resume() error { return n.signal(syscall.SIGCONT) }

func (n *NATS) signal(sig syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.process.running() {
		return errors.New("signal NATS: it does not run")
	}
	return n.process.signal(sig)
}

// Wipe removes the streams of a server that does not run.
func (n *NATS) Wipe() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.process.running() {
		return errors.New("wipe NATS: it is running")
	}
	return os.RemoveAll(n.Store())
}

// Close ends the server and removes its folder. It may be called again.
func (n *NATS) Close(ctx context.Context) error {
	if err := n.Kill(ctx); err != nil {
		return err // it may still use the folder
	}
	return n.remove()
}

func (n *NATS) remove() (err error) {
	n.closing.Do(func() {
		for _, port := range []*Port{n.port, n.cluster} {
			if port != nil {
				err = errors.Join(err, port.Close())
			}
		}
		if n.dir != "" {
			err = errors.Join(err, os.RemoveAll(n.dir))
		}
	})
	return err
}

// Running reports whether the server's process exists.
func (n *NATS) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.process.running()
}

// Name is the server's name in its cluster.
func (n *NATS) Name() string { return n.name }

// Address is the server's host:port for clients.
func (n *NATS) Address() string { return n.port.Address() }

// Store is the folder of the server's streams.
func (n *NATS) Store() string { return filepath.Join(n.dir, "jetstream") }

// Log is what the server has written since the first start.
func (n *NATS) Log() ([]byte, error) { return os.ReadFile(n.log()) }

func (n *NATS) log() string { return filepath.Join(n.dir, "server.log") }
