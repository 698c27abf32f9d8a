package postgres

import (
	"context"
	"sync"
	"time"
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
	pool  pool

	mu      sync.Mutex
	free    []*lane
	waiting [2][]chan *lane
	row     int // removals in a row while creations waited
}

// pool bounds the writers' connections.
type pool struct {
	writers  int
	idle     int           // connections that rest between batches; the others are closed
	lifetime time.Duration // the age at which a connection is closed; 0: none
}

func newTurns(d *dialer, p pool) *turns {
	t := &turns{pool: p}
	for range p.writers {
		l := newLane(d)
		l.lifetime = p.lifetime
		t.lanes = append(t.lanes, l)
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

// give hands a lane to who is next. A connection for which nobody waits rests,
// or is closed where it is one too many or too old.
func (t *turns) give(ctx context.Context, l *lane) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting[removals])+len(t.waiting[creations]) == 0 && (t.resting() >= t.pool.idle || t.outlived(l)) {
		t.mu.Unlock()
		l.drop(ctx) // it is nobody's, so that this waits for nobody
		t.mu.Lock()
	}
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

// resting counts the connections that nobody uses; mu is held.
func (t *turns) resting() int {
	n := 0
	for _, l := range t.free {
		if l.stands() {
			n++
		}
	}
	return n
}

func (t *turns) outlived(l *lane) bool { return l.stands() && l.outlived(t.pool.lifetime) }

// trim closes the connections that rest and have outlived their lifetime. Who
// comes meanwhile takes another lane, or waits for this one.
func (t *turns) trim(ctx context.Context) {
	for {
		l := t.takeOld()
		if l == nil {
			return
		}
		t.give(ctx, l)
	}
}

func (t *turns) takeOld() *lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, l := range t.free {
		if t.outlived(l) {
			t.free = append(t.free[:i:i], t.free[i+1:]...)
			return l
		}
	}
	return nil
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
