// Package gather makes batches out of concurrent calls: while one batch is
// under way the next gathers; there is no timer, so a lone call is never
// delayed (architecture: group commit).
//
// What holds: each call gets the answer of its own item; a batch has at most
// Max items; at most Limit calls wait, more are refused at once ([ErrFull]);
// an item whose caller gave up before its batch started is not processed; one
// that started is processed to its end.
package gather

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
)

// ErrFull refuses a call because too many wait already (section E).
var ErrFull = errors.New("queue is full")

var errNoAnswer = errors.New("batch has not one answer for each item")

// Config bounds a [Gatherer]; the zero value works.
type Config struct {
	Max   int // items of a batch; 128
	Limit int // items that wait; 4096
}

// Gatherer batches calls to one function. The first caller of a batch runs it;
// no goroutine outlives the calls.
type Gatherer[In, Out any] struct {
	cfg Config
	do  func([]In) []Out

	mu      sync.Mutex
	running bool
	waiting []*call[In, Out]
}

type call[In, Out any] struct {
	in    In
	out   Out
	turn  chan bool // true: lead the next batch; false: out is set
	taken bool
	crash any // the panic of the batch, raised again in each of its callers
}

// New returns a gatherer over do, which is called with one batch at a time and
// must return one answer for each item, in order.
func New[In, Out any](cfg Config, do func([]In) []Out) *Gatherer[In, Out] {
	cfg.Max = cmp.Or(cfg.Max, 128)
	cfg.Limit = cmp.Or(cfg.Limit, 4096)
	return &Gatherer[In, Out]{cfg: cfg, do: do}
}

// Do adds in to the next batch and returns its answer. If ctx ends while in
// still waits, ctx's error is returned and in was not processed.
func (g *Gatherer[In, Out]) Do(ctx context.Context, in In) (Out, error) {
	var zero Out
	if err := ctx.Err(); err != nil {
		return zero, err
	}
	c := &call[In, Out]{in: in, turn: make(chan bool, 1)}
	if err := g.join(c); err != nil {
		return zero, err
	}
	select {
	case lead := <-c.turn:
		return g.finish(c, lead), nil
	case <-ctx.Done():
	}
	if g.withdraw(c) {
		return zero, ctx.Err()
	}
	return g.finish(c, <-c.turn), nil
}

func (g *Gatherer[In, Out]) join(c *call[In, Out]) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) >= g.cfg.Limit {
		return ErrFull
	}
	g.waiting = append(g.waiting, c)
	if !g.running {
		g.running = true
		c.turn <- true
	}
	return nil
}

// finish leads c's batch if it is c's turn to, and returns c's answer.
func (g *Gatherer[In, Out]) finish(c *call[In, Out], lead bool) Out {
	if lead {
		g.lead(c)
	}
	if c.crash != nil {
		panic(c.crash)
	}
	return c.out
}

// withdraw takes c out of the queue; false if its batch has started. Where it
// was c's turn to lead, the next one leads.
func (g *Gatherer[In, Out]) withdraw(c *call[In, Out]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.taken {
		return false
	}
	g.waiting = slices.DeleteFunc(g.waiting, func(w *call[In, Out]) bool { return w == c })
	if len(c.turn) > 0 {
		g.handOver()
	}
	return true
}

// lead runs the batch that c is the first of, and hands over.
func (g *Gatherer[In, Out]) lead(c *call[In, Out]) {
	batch, in := g.take()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.handOver()
	}()
	out, crash := g.run(in)
	for i, b := range batch {
		if b.crash = crash; crash == nil {
			b.out = out[i]
		}
		if b != c {
			b.turn <- false
		}
	}
}

func (g *Gatherer[In, Out]) take() (batch []*call[In, Out], in []In) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(len(g.waiting), g.cfg.Max)
	batch, g.waiting = slices.Clone(g.waiting[:n]), slices.Clone(g.waiting[n:])
	for _, b := range batch {
		b.taken = true
		in = append(in, b.in)
	}
	return batch, in
}

// run calls the function; crash is its panic. One that returns too few answers
// crashes too: nobody may wait for ever.
func (g *Gatherer[In, Out]) run(in []In) (out []Out, crash any) {
	defer func() {
		if p := recover(); p != nil {
			crash = p
		}
	}()
	if out = g.do(in); len(out) != len(in) {
		return nil, errNoAnswer
	}
	return out, nil
}

// handOver lets the next call lead. mu is held.
func (g *Gatherer[In, Out]) handOver() {
	if len(g.waiting) == 0 {
		g.running = false
		return
	}
	g.waiting[0].turn <- true
}
