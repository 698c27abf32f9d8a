package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/curfew-project/curfew/services/internal/topology"
)

// errNotOurs is the error where a server that runs elsewhere would have to be
// controlled.
var errNotOurs = errors.New("the server was not started by the benchmark")

// Servers are the processes of the server itself; none where it runs elsewhere.
func (s *Site) Servers() (pids []int) {
	if s.process != nil {
		return []int{s.process.Pid()}
	}
	for _, p := range s.programs() {
		pids = append(pids, p.Pid())
	}
	return pids
}

// programs are those of the distributed form.
func (s *Site) programs() (out []*topology.Program) {
	if s.topology == nil {
		return nil
	}
	for _, name := range s.topology.Names() {
		if part, err := s.topology.Part(name); err == nil {
			if p, ok := part.(*topology.Program); ok {
				out = append(out, p)
			}
		}
	}
	return out
}

// Targets are the processes of the target; none where it runs elsewhere.
func (s *Site) Targets() []int {
	if s.postgres == nil || s.postgres.Contained() {
		return nil
	}
	return []int{s.postgres.Pid()}
}

// Kill ends the server as a power cut would.
func (s *Site) Kill(ctx context.Context) error {
	switch {
	case s.process != nil:
		return s.process.Kill()
	case s.topology != nil:
		var names []string
		for _, p := range s.programs() {
			names = append(names, p.Name())
		}
		return s.topology.Kill(ctx, names...)
	}
	return errNotOurs
}

// Start starts what was killed; it does not wait.
func (s *Site) Start(ctx context.Context) error {
	if s.topology == nil {
		if s.process == nil {
			return errNotOurs
		}
		return s.startServer()
	}
	for _, p := range s.programs() {
		if !p.Running() {
			if err := p.Start(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// KillTarget ends the target's server; StartTarget brings it back.
func (s *Site) KillTarget(ctx context.Context) error {
	if s.postgres == nil {
		return errNotOurs
	}
	return s.postgres.Kill(ctx)
}

// StartTarget brings the target back and returns when it takes connections.
func (s *Site) StartTarget(ctx context.Context) error {
	if s.postgres == nil {
		return errNotOurs
	}
	return s.postgres.Start(ctx)
}

// Profile writes a profile of each process of the server to a folder; a CPU
// profile lasts as many seconds, others are of the moment.
func (s *Site) Profile(ctx context.Context, dir, label, kind string, seconds int) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make a folder for profiles: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	errs := make([]error, len(s.monitors))
	done := make(chan struct{})
	for i, base := range s.monitors {
		go func() {
			defer func() { done <- struct{}{} }()
			query := url.Values{}
			if seconds > 0 {
				query.Set("seconds", strconv.Itoa(seconds))
			}
			file := filepath.Join(dir, strings.NewReplacer("/", "-", " ", "-").Replace(label)+"."+strconv.Itoa(i+1)+"."+kind+".pprof")
			errs[i] = fetch(ctx, client, base+"/debug/pprof/"+kind+"?"+query.Encode(), file)
		}()
	}
	for range s.monitors {
		<-done
	}
	return errors.Join(errs...)
}

func fetch(ctx context.Context, client *http.Client, from, file string) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("take a profile: %s answers %s", from, res.Status)
	}
	out, err := os.Create(file) //nolint:gosec // the caller names the folder
	if err != nil {
		return fmt.Errorf("write a profile: %w", err)
	}
	_, err = io.Copy(out, res.Body)
	return errors.Join(err, out.Close())
}
