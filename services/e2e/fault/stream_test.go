//go:build e2e

package fault

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/topology"
	bus "github.com/curfew-project/curfew/shared/bus/jetstream"
	"github.com/curfew-project/curfew/shared/testkit"
)

// TestEmbeddedStream loses what the stream of the one-machine form holds: while
// the process does not run, or because there is no more room for it (promise 6).
func TestEmbeddedStream(t *testing.T) {
	if distributed() {
		t.Skip("the distributed form has its stream in NATS: TestNATS")
	}
	monitor := fmt.Sprintf("127.0.0.1:%d", testkit.Port(t))
	w := open(t, func(cfg *topology.Config) { cfg.Settings += fmt.Sprintf("monitor { address = %q }\n", monitor) })
	s, ok := w.form.(*single)
	if !ok {
		t.Fatal("this form is not of one machine")
	}
	dir := filepath.Join(s.dir, "nats")
	stream := filepath.Join(dir, "jetstream", "$G", "streams", bus.StreamName)
	w.outages(t,
		outage{"nats: store wiped", 5, 0, w.without(s, dir)},
		outage{"nats: stream deleted", 5, 0, w.without(s, stream)},
		outage{"nats: disk full", 2, 30 * time.Second, w.crowded(s, dir, "http://"+monitor, false)},
		outage{"nats: disk full at start", 2, 15 * time.Second, w.crowded(s, dir, "http://"+monitor, true)},
	)
}

// without kills the process, removes a folder of its stream, and starts it.
func (w *world) without(s *single, dir string) func(t *testing.T) fault {
	return func(t *testing.T) fault {
		t.Helper()
		s.kill(t)
		old := filepath.Join(dir, "of-before")
		must(t, os.WriteFile(old, nil, 0o600), "mark the stream's folder")
		must(t, os.RemoveAll(dir), "remove it")
		w.again(t)
		return fault{
			effect: func() error {
				if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
					return fmt.Errorf("the folder is still the same: %w", err)
				}
				_, err := os.Stat(dir) // it was made anew
				return err
			},
			end: func() {},
		}
	}
}

// crowded gives the stream a small disk of its own, which somebody else fills: once
// the process has made use of it, or before, so that there is no stream at all.
func (w *world) crowded(s *single, dir, monitor string, early bool) func(t *testing.T) fault {
	return func(t *testing.T) fault {
		t.Helper()
		s.kill(t)
		d := smallDisk(t, dir)
		if early {
			must(t, os.RemoveAll(filepath.Join(dir, "jetstream")), "remove the stream")
			d.fill(t)
		}
		w.again(t)
		if !early {
			d.fill(t)
		}
		gather := gathers(t, monitor)
		return fault{
			effect: func() error { return errors.Join(d.isFull(), gather()) },
			end:    func() { d.clear(t) },
		}
	}
}
