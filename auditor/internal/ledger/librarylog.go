package ledger

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/rs/zerolog"
	"k8s.io/klog/v2"
)

// klogState guards klog's own, which belongs to the process: reading its flags
// races with setting them.
var klogState sync.Mutex

// redirectLibraryLog sends what the transparency-log library says to log.
//
// The library logs through klog, whose state belongs to the process and writes
// to stderr unless told otherwise. Open tells it, before the library runs,
// rather than an init: importing a package must not change where a program
// logs. The latest Open of a process decides; all calls used here take klog's
// own mutex, so lines written meanwhile are safe. klog itself still writes a
// stack to stderr when the library ends the process on a broken invariant.
func redirectLibraryLog(log zerolog.Logger) error {
	klogState.Lock()
	defer klogState.Unlock()
	// A line goes to the writer of its severity and of all lower ones, so
	// the lowest sees each line exactly once.
	klog.SetOutput(io.Discard)
	klog.SetOutputBySeverity("INFO", libraryLines{log: log.With().Str("component", "tessera").Logger()})
	flags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(flags)
	if err := flags.Set("stderrthreshold", "FATAL"); err != nil {
		return fmt.Errorf("redirect library log: %w", err)
	}
	klog.LogToStderr(false) // last: now that every severity has its writer
	return nil
}

// libraryLines turns klog's lines ("W0102 15:04:05.000000 1 file.go:1] text")
// into structured ones.
type libraryLines struct{ log zerolog.Logger }

func (w libraryLines) Write(line []byte) (int, error) {
	header, text, found := strings.Cut(strings.TrimSuffix(string(line), "\n"), "] ")
	if !found {
		header, text = "", header
	}
	level := zerolog.DebugLevel // the library's "info" is its own working
	switch {
	case strings.HasPrefix(header, "W"):
		level = zerolog.WarnLevel
	case strings.HasPrefix(header, "E"), strings.HasPrefix(header, "F"):
		level = zerolog.ErrorLevel
	}
	w.log.WithLevel(level).Str("detail", text).Msg("transparency log library")
	return len(line), nil
}
