package postgres

import (
	"sync"

	"github.com/curfew-project/curfew/shared/step"
)

// watchers are told of commits with events.
type watchers struct {
	mu  sync.Mutex
	all map[step.Signal]struct{}
}

// Watch implements [store.Watcher]. Commits of this process are told at once,
// those of others while [Store.Listen] runs.
func (s *Store) Watch() (<-chan struct{}, func()) {
	signal := step.NewSignal()
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[step.Signal]struct{}{}
	}
	w.all[signal] = struct{}{}
	return signal, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, signal)
	}
}

func (w *watchers) signal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.all {
		s.Set()
	}
}

// close forgets the watchers: there is nothing more to tell.
func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.all)
}
