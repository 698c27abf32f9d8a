package step

import (
	"context"
	"sync"
)

// Watchers are told of something, each by a [Signal] of its own. The zero value
// has none.
type Watchers struct {
	mu  sync.Mutex
	all map[Signal]struct{}
}

// Watch returns the channel of a new watcher, and a function that ends it.
func (w *Watchers) Watch() (<-chan struct{}, func()) {
	signal := NewSignal()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[Signal]struct{}{}
	}
	w.all[signal] = struct{}{}
	return signal, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.all, signal)
	}
}

// Set wakes each watcher once, however often it is called before they look.
func (w *Watchers) Set() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.all {
		s.Set()
	}
}

// Close forgets the watchers: there is nothing more to tell.
func (w *Watchers) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.all)
}

// Each calls do each time that it is set, until ctx ends.
func (w *Watchers) Each(ctx context.Context, do func()) error {
	set, end := w.Watch()
	defer end()
	for {
		select {
		case <-set:
			do()
		case <-ctx.Done():
			return nil
		}
	}
}
