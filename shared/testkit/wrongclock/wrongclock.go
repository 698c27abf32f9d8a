package wrongclock

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// suffix of the file beside a configuration.
const suffix = ".clock"

// lookEvery is how often a process reads its file.
const lookEvery = 10 * time.Millisecond

// Set puts the wall clock of the processes with this configuration ahead of the
// machine's, in whole seconds; less than 0: behind.
func Set(config string, ahead time.Duration) error {
	if ahead%time.Second != 0 {
		return fmt.Errorf("set a clock: %v is not in whole seconds", ahead)
	}
	draft, err := os.CreateTemp(filepath.Dir(config), "clock-")
	if err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}
	_, err = draft.WriteString(strconv.FormatInt(int64(ahead/time.Second), 10))
	if closed := draft.Close(); err == nil {
		err = closed
	}
	if err == nil { // never half of a number
		err = os.Rename(draft.Name(), config+suffix)
	}
	if err != nil {
		return fmt.Errorf("set a clock: %w", err)
	}
	return nil
}

// Now is what the machine's clock says, as this process has it.
func Now(machine func() time.Time) time.Time { return here().at(machine()) }

// clock is the one of a process.
type clock struct {
	file string // empty: it is right

	mu     sync.Mutex
	looked time.Time // the machine's
	ahead  int64     // seconds
}

// here is this process's.
//
//nolint:gochecknoglobals // a process has one, and nothing of it is in a program of ours
var here = sync.OnceValue(func() *clock { return &clock{file: fileOf(os.Args)} })

// fileOf is the file of a process with these arguments.
func fileOf(args []string) string {
	for _, arg := range args {
		if _, config, ok := strings.Cut(arg, "-config="); ok {
			return config + suffix
		}
	}
	return ""
}

func (c *clock) at(machine time.Time) time.Time {
	if c.file == "" {
		return machine
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looked.IsZero() || machine.Sub(c.looked) > lookEvery {
		c.looked, c.ahead = machine, 0
		if text, err := os.ReadFile(c.file); err == nil { // else it is right
			c.ahead, _ = strconv.ParseInt(string(text), 10, 64) // Set wrote it
		}
	}
	return shifted(machine, c.ahead)
}

// monotonic is the bit of a time that says that it has a monotonic reading, which
// everything else depends on; seconds of the wall clock begin at bit 30 then.
const (
	monotonic = 1 << 63
	second    = 30
)

// shifted is t with another wall clock and the same monotonic reading, for which
// package time has no means: Add moves both.
func shifted(t time.Time, seconds int64) time.Time {
	wall := (*uint64)(unsafe.Pointer(&t)) // its first field: a test holds it to that
	if *wall&monotonic == 0 {
		return t.Add(time.Duration(seconds) * time.Second) // there is only the wall clock
	}
	*wall += uint64(seconds) << second // less than 0 subtracts
	return t
}
