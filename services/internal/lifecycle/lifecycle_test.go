package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
)

// Law: parts stop in reverse order of their start, each after the one before
// has stopped, and work until then although the caller's context has ended.
func TestLifecycleOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(clock.System{}, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var stopped []string
		note := func(name string) {
			mu.Lock()
			defer mu.Unlock()
			stopped = append(stopped, name)
		}
		for _, name := range []string{"store", "bus", "api"} {
			l.Run(ctx, name, func(ctx context.Context) error {
				<-ctx.Done()
				note(name)
				return nil
			})
			l.OnStop(name+" file", func(ctx context.Context) error {
				note(name + " file")
				return ctx.Err()
			})
		}
		cancel()
		synctest.Wait()
		if len(stopped) != 0 {
			t.Errorf("%v stopped before their turn", stopped)
		}
		if err := l.Stop(ctx); err != nil {
			t.Error(err)
		}
		if want := []string{"api file", "api", "bus file", "bus", "store file", "store"}; !slices.Equal(stopped, want) {
			t.Errorf("stopped in the order %v, want %v", stopped, want)
		}
		if err := l.Stop(ctx); err != nil || len(stopped) != 6 {
			t.Errorf("a second stop: %v, %v", err, stopped)
		}
	})
}

// Law: a part that ends before it was asked to fails the whole, with its name,
// also where it returned no error; the first failure is the one that is told.
func TestLifecycleEarlyEnd(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{nil, errors.New("disk is gone")} {
		synctest.Test(t, func(t *testing.T) {
			l := New(clock.System{}, zerolog.Nop())
			l.Run(t.Context(), "publisher", func(context.Context) error { return cause })
			synctest.Wait()
			l.Run(t.Context(), "revoker", func(context.Context) error { return errors.New("later") })
			synctest.Wait()
			err := <-l.failed
			if !errors.Is(err, errEarly) || cause != nil && !errors.Is(err, cause) || !strings.HasPrefix(err.Error(), "publisher ") {
				t.Errorf("the failure is %v", err)
			}
			_ = l.Stop(t.Context())
		})
	}
}

// Law: a part that hangs is left behind after its bound; the others still stop.
func TestLifecycleHangingPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := New(clock.System{}, zerolog.Nop())
		closed, release := false, make(chan struct{})
		l.OnStop("store", func(context.Context) error { closed = true; return nil })
		l.Run(t.Context(), "flights", func(context.Context) error { <-release; return nil })
		err := l.Stop(t.Context())
		if err == nil || !strings.Contains(err.Error(), "stop flights") || !closed {
			t.Errorf("stop: %v, store closed: %t", err, closed)
		}
		close(release)
	})
}
