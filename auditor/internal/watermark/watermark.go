// Package watermark is a position that some goroutine moves and any number wait
// for. It forgets nothing and queues nothing: who waits sees the latest.
package watermark

import (
	"context"
	"sync"

	"github.com/curfew-project/curfew/shared/event"
)

// Mark is the position. Make it with [New].
type Mark struct {
	mu    sync.Mutex
	at    event.Position
	moved chan struct{} // closed when at changes
}

// New returns a mark before the first event.
func New() *Mark { return &Mark{moved: make(chan struct{})} }

// Set moves the mark, also back.
func (m *Mark) Set(p event.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at != p {
		m.move(p)
	}
}

// Advance moves the mark forward; one that is there already, or further, stays.
func (m *Mark) Advance(p event.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.at.Before(p) {
		m.move(p)
	}
}

func (m *Mark) move(p event.Position) {
	m.at = p
	close(m.moved)
	m.moved = make(chan struct{})
}

// At is where the mark is, and a channel that is closed when that changes.
func (m *Mark) At() (event.Position, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at, m.moved
}

// Await waits until the mark is at p or after it, at most as long as ctx, and
// returns where it is.
func (m *Mark) Await(ctx context.Context, p event.Position) event.Position {
	for {
		at, moved := m.At()
		if !at.Before(p) {
			return at
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return at
		}
	}
}
