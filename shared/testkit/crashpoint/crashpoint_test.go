package crashpoint

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// childVariable makes the test binary the process that meets a point.
const childVariable = "CURFEW_CRASHPOINT_CHILD"

func TestMain(m *testing.M) {
	if file := os.Getenv(childVariable); file != "" {
		os.Exit(meet(file))
	}
	os.Exit(m.Run())
}

// meet makes one call at the point "here", which writes a file, and exits with
// what the caller sees: 0 for done, 3 for a lost answer.
func meet(file string) int {
	call := func(name string, _ ...int) error { return os.WriteFile(name, []byte("made"), 0o600) }
	switch err := Wrap("here", call)(file, 1, 2); {
	case err == nil:
		return 0
	case errors.Is(err, store.ErrUnknown):
		return 3
	}
	return 1
}

// A process dies before its call, dies after it, or is told that it failed; each
// plan is carried out once, and what was met is written down.
func TestModes(t *testing.T) {
	t.Parallel()
	programs := t.TempDir()
	self := filepath.Join(programs, "child")
	text, err := os.ReadFile(os.Args[0])
	must(t, err)
	must(t, os.WriteFile(self, text, 0o700))
	c, err := Open(programs)
	must(t, err)
	run := func() (made, killed bool, code int) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "made")
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), childVariable+"="+file)
		_ = cmd.Run() // how it ended is what is asked
		_, err := os.Stat(file)
		status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
		return err == nil, ok && status.Signaled() && status.Signal() == syscall.SIGKILL, cmd.ProcessState.ExitCode()
	}
	for _, want := range []struct {
		mode         Mode
		made, killed bool
		code         int
	}{{Before, false, true, -1}, {After, true, true, -1}, {Lost, true, false, 3}} {
		must(t, c.Arm(Plan{"there", Before}, Plan{"here", want.mode}))
		if made, killed, code := run(); made != want.made || killed != want.killed || code != want.code {
			t.Errorf("%s: made %t, killed %t, code %d", want.mode, made, killed, code)
		}
		if taken, err := c.Fired(); !slices.Equal(taken, []int{1}) || err != nil {
			t.Errorf("%s: plans %d were taken, %v", want.mode, taken, err)
		}
		if made, killed, code := run(); !made || killed || code != 0 {
			t.Errorf("%s, again: made %t, killed %t, code %d", want.mode, made, killed, code)
		}
	}
	if hits, err := c.Hits(); err != nil || len(hits) == 0 || slices.ContainsFunc(hits, func(h string) bool { return h != "here" }) {
		t.Errorf("hits: %q, %v", hits, err)
	}
	must(t, c.Disarm())
	if taken, err := c.Fired(); len(taken) != 0 || err != nil {
		t.Errorf("disarmed: %d, %v", taken, err)
	}
	must(t, c.Forget())
	if hits, err := c.Hits(); len(hits) != 0 || err != nil {
		t.Errorf("forgotten: %q, %v", hits, err)
	}
}

// Each kind of answer is lost in its own way: nothing of it arrives, and every
// part of it says so.
func TestLost(t *testing.T) {
	t.Parallel()
	for name, check := range map[string]func() bool{
		"error": func() bool {
			n, err := lostBy(func(context.Context) (int, error) { return 7, nil })(t.Context())
			return n == 0 && errors.Is(err, ErrLost) && errors.Is(err, store.ErrUnknown)
		},
		"outcomes of the store": func() bool {
			out := lostBy(func(context.Context) []store.Outcome {
				return []store.Outcome{{Lease: lease.Lease{ID: "a"}}, {}}
			})(t.Context())
			return len(out) == 2 && out[0].Lease.ID == "" && errors.Is(out[0].Err, store.ErrUnknown) && out[1].Err != nil
		},
		"outcomes of a target": func() bool {
			out := lostBy(func(context.Context) []engine.Outcome { return []engine.Outcome{{Gone: true}} })(t.Context())
			var e *engine.Error
			return len(out) == 1 && !out[0].Gone && errors.As(out[0].Err, &e) && e.Kind == engine.Unreachable
		},
		"errors of a target": func() bool {
			out := lostBy(func(context.Context) []error { return make([]error, 2) })(t.Context())
			return len(out) == 2 && out[0] != nil && out[1] != nil
		},
	} {
		if !check() {
			t.Errorf("%s: the answer is not lost as it should be", name)
		}
	}
}

// The purpose of a call is what it changes, once each.
func TestPurposes(t *testing.T) {
	t.Parallel()
	change := func(do lease.Action) store.Transition { return store.Transition{Change: lease.Change{Do: do}} }
	for _, c := range []struct {
		arg  any
		want string
	}{
		{[]store.Transition{change(lease.Begin{Lease: lease.Lease{Kind: lease.Token}}), change(lease.Retry{}), change(lease.Retry{})}, " [Begin token]| [Retry]"},
		{store.Write{
			Puts: []store.Entry{{Kind: store.KindRole}, {Kind: store.KindRole}}, Withdrawals: []store.Ref{{Kind: store.KindMount}},
			Deletes: []store.Ref{{Kind: store.KindAuth}},
		}, " [delete auth]| [put role]| [withdraw mount]"},
		{store.Query{}, ""},
	} {
		if got := strings.Join(purposes(values(c.arg)), "|"); got != c.want {
			t.Errorf("%T: %q, want %q", c.arg, got, c.want)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
