package instrument

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/curfew-project/curfew/services/internal/built"
)

// alias is the name of package crashpoint in files that are rewritten.
const (
	alias = "curfewcrashpoint"
	entry = `; import ` + alias + ` "` + root + `shared/testkit/crashpoint"`
)

// Build builds the programs of these folders of services/ into a folder, with
// these points in them, and with a clock that can be wrong. scratch is a folder
// for what the compiler reads instead of the source; it is needed for nothing
// afterwards.
func Build(ctx context.Context, points []Point, scratch, dir string, raced bool, folders ...string) error {
	clock, err := source(ctx, root+"shared/clock")
	if err != nil {
		return err
	}
	overlay, err := rewrite(points, filepath.Join(clock, "clock.go"), scratch)
	if err != nil {
		return err
	}
	return built.With(ctx, dir, raced, []string{"-overlay=" + overlay}, folders...)
}

// rewrite writes the files that have points and the one that has the clock, and
// the overlay that names them.
func rewrite(points []Point, clock, scratch string) (overlay string, err error) {
	if scratch, err = filepath.Abs(scratch); err != nil {
		return "", fmt.Errorf("find the folder: %w", err)
	}
	files := map[string][]Point{}
	for _, p := range points {
		files[p.file] = append(files[p.file], p)
	}
	replace := map[string]string{}
	change := func(path string, with func([]byte) ([]byte, error)) error {
		text, err := os.ReadFile(path) //nolint:gosec // the go command named it
		if err != nil {
			return fmt.Errorf("read source: %w", err)
		}
		if text, err = with(text); err != nil {
			return fmt.Errorf("rewrite %s: %w", path, err)
		}
		out := filepath.Join(scratch, strconv.Itoa(len(replace))+".go")
		if err := os.WriteFile(out, text, 0o600); err != nil {
			return fmt.Errorf("write source: %w", err)
		}
		replace[path] = out
		return nil
	}
	for path, in := range files {
		if err := change(path, func(text []byte) ([]byte, error) { return wrapped(text, in) }); err != nil {
			return "", err
		}
	}
	if err := change(clock, wrongClock); err != nil {
		return "", err
	}
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("encode overlay: %w", err)
	}
	overlay = filepath.Join(scratch, "overlay.json")
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", fmt.Errorf("write overlay: %w", err)
	}
	return overlay, nil
}

// wrapped is a file with its points. No line changes its number.
func wrapped(text []byte, points []Point) ([]byte, error) {
	// From the end on, so that offsets hold; a call may be inside of what is
	// called, and ends before it.
	slices.SortFunc(points, func(a, b Point) int { return b.from - a.from })
	before := len(text)
	for _, p := range points {
		if p.from < 0 || p.to > before {
			return nil, fmt.Errorf("%s: the call is inside of another one's name", p.Name)
		}
		before = p.from
		called := string(text[p.from:p.to])
		text = slices.Concat(text[:p.from], []byte(alias+".Wrap("+strconv.Quote(p.Name)+", "+called+")"), text[p.to:])
	}
	return importing(text, entry)
}

// importing is a file with an import more, in the line of its package clause.
func importing(text []byte, entry string) ([]byte, error) {
	clause := bytes.Index(text, []byte("\npackage "))
	if bytes.HasPrefix(text, []byte("package ")) {
		clause = -1
	} else if clause < 0 {
		return nil, errors.New("no package clause")
	}
	line := bytes.IndexByte(text[clause+1:], '\n')
	if line < 0 {
		return nil, errors.New("nothing after the package clause")
	}
	at := clause + 1 + line
	return slices.Concat(text[:at], []byte(entry), text[at:]), nil
}
