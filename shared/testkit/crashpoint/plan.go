package crashpoint

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Mode is what happens at a point.
type Mode string

// The modes.
const (
	// Before: the process is killed and the call was not made.
	Before Mode = "before"
	// After: the call is made, then the process is killed.
	After Mode = "after"
	// Lost: the call is made, and fails for the caller.
	Lost Mode = "lost"
)

// Modes are all of them; only the first two for a call that cannot fail.
func Modes(lossy bool) []Mode {
	if !lossy {
		return []Mode{Before, After}
	}
	return []Mode{Before, After, Lost}
}

// Plan says what happens where.
type Plan struct {
	Point string // its name, with a purpose or without
	Mode  Mode
}

// String is the plan as a person reads and repeats it.
func (p Plan) String() string { return string(p.Mode) + " " + p.Point }

// Folder is the name of the folder beside the programs.
const Folder = "crashpoints"

const (
	planned  = "plan."
	fired    = "fired."
	hitsFile = "hits"
	// begunFile changes each time that the hits are forgotten.
	begunFile = "hits.begun"
)

// Control is the folder as the one sees it who makes plans.
type Control struct{ dir string }

// Open makes the folder beside the programs in a folder.
func Open(programs string) (Control, error) {
	c := Control{filepath.Join(programs, Folder)}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return c, fmt.Errorf("make the folder of crash points: %w", err)
	}
	return c, errors.Join(c.Disarm(), c.Forget())
}

// Arm puts plans there, each of which is carried out once; those before are
// forgotten.
func (c Control) Arm(plans ...Plan) error {
	if err := c.Disarm(); err != nil {
		return err
	}
	for i, p := range plans {
		text, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("encode plan: %w", err)
		}
		draft := filepath.Join(c.dir, "draft")
		if err := os.WriteFile(draft, text, 0o600); err != nil {
			return fmt.Errorf("write plan: %w", err)
		}
		if err := os.Rename(draft, filepath.Join(c.dir, fmt.Sprint(planned, i))); err != nil {
			return fmt.Errorf("arm: %w", err)
		}
	}
	return nil
}

// Disarm takes the plans away, carried out or not.
func (c Control) Disarm() error {
	var err error
	for _, prefix := range []string{planned, fired} {
		all, failed := filepath.Glob(filepath.Join(c.dir, prefix+"*"))
		err = errors.Join(err, failed)
		for _, name := range all {
			// A process may take it at this moment.
			if failed := os.Remove(name); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
				err = errors.Join(err, failed)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("disarm: %w", err)
	}
	return nil
}

// Fired are the plans that processes have taken, by their places in what was
// armed.
func (c Control) Fired() (places []int, err error) {
	all, err := filepath.Glob(filepath.Join(c.dir, fired+"*"))
	if err != nil {
		return nil, fmt.Errorf("look for plans that were taken: %w", err)
	}
	for _, name := range all {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(name), fired), ".")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("look for plans that were taken: %w", err)
		}
		places = append(places, n)
	}
	slices.Sort(places)
	return places, nil
}

// Hits are the full names of the points that processes came by since Forget, each
// once at least.
func (c Control) Hits() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(c.dir, hitsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read hits: %w", err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n"), nil
}

// Forget begins the hits anew. Processes that run write theirs again.
func (c Control) Forget() error {
	if err := os.Remove(filepath.Join(c.dir, hitsFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget hits: %w", err)
	}
	begun := filepath.Join(c.dir, begunFile)
	if err := os.WriteFile(begun+".new", []byte(rand.Text()), 0o600); err != nil {
		return fmt.Errorf("begin hits anew: %w", err)
	}
	if err := os.Rename(begun+".new", begun); err != nil {
		return fmt.Errorf("begin hits anew: %w", err)
	}
	return nil
}

// Name is a full name without its purpose.
func Name(full string) string {
	name, _, _ := strings.Cut(full, " [")
	return name
}
