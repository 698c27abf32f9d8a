package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/curfew-project/curfew/services/internal/child"
	"github.com/curfew-project/curfew/shared/secret"
	"github.com/curfew-project/curfew/shared/testkit/server"
)

const (
	startHangs = time.Minute // longer is a hang
	stopHangs  = time.Minute
	poll       = 5 * time.Millisecond
)

// openServer runs `curfew server`.
func (s *Site) openServer(ctx context.Context) error {
	var addresses [2]string
	for i := range addresses {
		port, err := server.TakePort()
		if err != nil {
			return err
		}
		s.ports, addresses[i] = append(s.ports, port), port.Address()
	}
	s.URL, s.monitors = "http://"+addresses[0], []string{"http://" + addresses[1]}
	text := fmt.Sprintf(`data_dir = %q
log_level = "warn"
listener "tcp" { address = %q tls_disable = true }
monitor { address = %q profiles = true }
`, s.data(), addresses[0], addresses[1])
	if err := os.WriteFile(s.config(), []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	if err := s.startServer(); err != nil {
		return err
	}
	if err := s.await(ctx, s.monitors[0]+"/readyz"); err != nil {
		return err
	}
	token, err := os.ReadFile(filepath.Join(s.data(), "root-token"))
	if err != nil {
		return fmt.Errorf("read the root token: %w", err)
	}
	s.Token = secret.New(strings.TrimSpace(string(token)))
	return nil
}

func (s *Site) data() string   { return filepath.Join(s.dir, "data") }
func (s *Site) config() string { return filepath.Join(s.dir, "curfew.hcl") }
func (s *Site) log() string    { return filepath.Join(s.dir, "server.log") }

func (s *Site) startServer() error {
	log, err := os.OpenFile(s.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	cmd := exec.Command(filepath.Join(s.cfg.Programs, "curfew"), "server", "-config="+s.config()) //nolint:gosec,noctx // the program is ours, and ends in good order: child.Child.Stop
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = s.environ, s.dir, log, log
	s.process, err = child.Start(cmd)
	if err = errors.Join(err, log.Close()); err != nil { // the child has its own
		return fmt.Errorf("start curfew server: %w", err)
	}
	return nil
}

// await returns when the URL answers 200.
func (s *Site) await(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startHangs)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy of the environment
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if res, err := client.Do(req); err == nil {
			_ = res.Body.Close() // nothing of it is read
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		var ended <-chan struct{}
		if s.process != nil {
			ended = s.process.Ended()
		}
		tick, stop := s.cfg.Clock.Timer(poll)
		select {
		case <-tick:
		case <-ended:
			stop()
			return fmt.Errorf("the server ended by itself; its log ends:\n%s", s.LogTail())
		case <-ctx.Done():
			stop()
			return fmt.Errorf("wait for %s: %w; the log ends:\n%s", url, ctx.Err(), s.LogTail())
		}
	}
}

// LogTail is the end of the server's log, for an error that a person reads.
func (s *Site) LogTail() string {
	if s.topology != nil {
		return s.topology.LogTails()
	}
	text, err := os.ReadFile(s.log())
	if err != nil {
		return ""
	}
	const most, long = 15, 300
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	lines = lines[max(0, len(lines)-most):]
	for i, line := range lines {
		lines[i] = line[:min(len(line), long)]
	}
	return strings.Join(lines, "\n")
}
