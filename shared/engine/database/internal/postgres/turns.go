package postgres

import (
	"context"
	"sync"
)

// class says for what a turn is wanted.
type class int

const (
	removals class = iota
	creations
)

// streak is how many turns removals get in a row while creations wait: three
// quarters of them, the creations one (B7).
const streak = 3

// turns hands the writers out: removals, which are overdue, before creations,
// but a quarter of the turns at least for each while both wait.
type turns struct {
	lanes []*lane

	mu      sync.Mutex
	free    []*lane
	waiting [2][]chan *lane
	row     int // removals in a row while creations waited
}

func newTurns(d *dialer, writers int) *turns {
	t := &turns{}
	for range writers {
		t.lanes = append(t.lanes, newLane(d))
	}
	t.free = append(t.free, t.lanes...)
	return t
}

// take waits for a turn. The lane must be given back.
func (t *turns) take(ctx context.Context, c class) (*lane, error) {
	t.mu.Lock()
	if n := len(t.free); n > 0 {
		l := t.free[n-1]
		t.free = t.free[:n-1]
		t.mu.Unlock()
		return l, nil
	}
	turn := make(chan *lane, 1)
	t.waiting[c] = append(t.waiting[c], turn)
	t.mu.Unlock()
	select {
	case l := <-turn:
		return l, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	for i, w := range t.waiting[c] {
		if w == turn {
			t.waiting[c] = append(t.waiting[c][:i:i], t.waiting[c][i+1:]...)
			t.mu.Unlock()
			return nil, busy("the target is busy")
		}
	}
	t.mu.Unlock()
	return <-turn, nil // it came at the same moment
}

// give hands a lane to who is next.
func (t *turns) give(l *lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.next()
	if len(t.waiting[c]) == 0 {
		t.free = append(t.free, l)
		return
	}
	turn := t.waiting[c][0]
	t.waiting[c] = t.waiting[c][1:]
	turn <- l
}

func (t *turns) next() class {
	drop, create := len(t.waiting[removals]) > 0, len(t.waiting[creations]) > 0
	switch {
	case drop && create && t.row < streak:
		t.row++
		return removals
	case create:
		t.row = 0
		return creations
	default:
		return removals
	}
}

// close closes all writers.
func (t *turns) close(ctx context.Context) error {
	for _, l := range t.lanes {
		if err := l.close(ctx); err != nil {
			return err
		}
	}
	return nil
}
