package measure

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of processor times in /proc: USER_HZ, which is 100 on every
// architecture that Go runs on.
const tick = 10 * time.Millisecond

// CPU is the processor time that these processes and their children have used,
// ended children included. A process that is not there counts as none.
func CPU(pids ...int) time.Duration {
	children := map[int][]int{}
	used := map[int]time.Duration{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, file := range files {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		s, ok := read(file)
		if err != nil || !ok {
			continue // it has ended
		}
		children[s.parent] = append(children[s.parent], pid)
		used[pid] = s.own + s.ended
	}
	var sum time.Duration
	for open := pids; len(open) > 0; {
		pid := open[0]
		open = append(open[1:len(open):len(open)], children[pid]...)
		sum += used[pid]
	}
	return sum
}

// Own is the processor time of this process, without its children's.
func Own() time.Duration {
	s, _ := read("/proc/self/stat")
	return s.own
}

// stat is a file /proc/*/stat.
type stat struct {
	parent     int
	own, ended time.Duration // of the process, of its children that have ended
}

func read(file string) (s stat, ok bool) {
	text, err := os.ReadFile(file) //nolint:gosec // of the kernel
	if err != nil {
		return s, false
	}
	// After the name in parentheses, which may hold anything: state, parent, …
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 15 {
		return s, false
	}
	s.parent, _ = strconv.Atoi(fields[1])
	ticks := func(text string) time.Duration {
		n, _ := strconv.ParseInt(text, 10, 64)
		return time.Duration(n) * tick
	}
	s.own = ticks(fields[11]) + ticks(fields[12])
	s.ended = ticks(fields[13]) + ticks(fields[14])
	return s, true
}

// Memory is the resident memory of these processes, in bytes.
func Memory(pids ...int) (sum int64) {
	for _, pid := range pids {
		text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
				kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
				sum += kib << 10
			}
		}
	}
	return sum
}
