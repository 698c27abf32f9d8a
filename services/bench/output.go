package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/curfew-project/curfew/services/bench/internal/report"
	"github.com/curfew-project/curfew/services/bench/internal/site"
	"github.com/curfew-project/curfew/shared/clock"
)

// describe begins the report of a site.
func describe(ctx context.Context, s *site.Site, c clock.Clock, command string) (*report.Report, error) {
	version, err := s.Version(ctx)
	if err != nil {
		return nil, err
	}
	return &report.Report{
		When: c.Now(), Command: command, Form: s.Form(), Postgres: version,
		Machine: fmt.Sprintf("%d cores (%s), %s, %s/%s", runtime.NumCPU(), processor(), runtime.Version(), runtime.GOOS, runtime.GOARCH),
	}, nil
}

// processor is its name, where the system tells it.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // not everywhere
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// write prints the table, and keeps everything in a folder where one is named.
func write(r *report.Report, dir string, stdout io.Writer) error {
	if err := r.WriteTable(stdout); err != nil || dir == "" {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make a folder for results: %w", err)
	}
	files := map[string]func(io.Writer) error{"results.json": r.WriteJSON, "table.md": r.WriteTable}
	for name, plot := range r.Plots() {
		files[name+".svg"] = plot.Write
	}
	var errs []error
	for name, content := range files {
		errs = append(errs, create(filepath.Join(dir, name), content))
	}
	return errors.Join(errs...)
}

func create(path string, content func(io.Writer) error) error {
	f, err := os.Create(path) //nolint:gosec // the caller names the folder
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	return errors.Join(content(f), f.Close())
}
