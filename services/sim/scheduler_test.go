package sim_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// What a caller is told of a call that did not go well.
var (
	errAway = errors.New("away")                      // not done
	errLost = errors.New("the answer was lost")       // done, or will be
	errDead = errors.New("the process was killed")    // nobody reads this
	errCut  = errors.New("the connection was broken") // of a client
)

// scheduler decides what happens next. All goroutines of a run are in one
// bubble (testing/synctest); each of them stops at every call that leaves its
// process and at every timer, and goes on when the scheduler picks it: so one at
// a time moves, and the seed alone says which. The effect of a call happens on
// the scheduler's own goroutine.
type scheduler struct {
	t     *testing.T
	rand  *rand.Rand // the scheduler's own
	seed  uint64
	start time.Time
	steps int

	mu      sync.Mutex
	fresh   []happening // since the last step, in no order
	arrived chan struct{}
	sources map[string]*rand.ChaCha8

	waiting []happening // in an order that the seed determines
	hash    uint64
	trace   *strings.Builder // nil: nobody reads it

	calm   func() bool // nothing fails: reading needs no decision
	decide func(*call) verdict
	after  func(*call) // after an effect
}

// happening is something that may happen next.
type happening interface {
	key() string         // tells apart what arrived since the last step
	by() uint64          // the goroutine, where the key does not
	due() time.Time      // not before
	gone() bool          // it will not happen any more
	happen(s *scheduler) // on the scheduler's goroutine
}

func newScheduler(t *testing.T, seed uint64) *scheduler {
	t.Helper()
	return &scheduler{
		t: t, rand: rand.New(rand.NewPCG(seed, seed^0x9e3779b97f4a7c15)),
		seed: seed, sources: map[string]*rand.ChaCha8{}, start: time.Now(), arrived: make(chan struct{}, 1), hash: 14695981039346656037,
	}
}

// add lets e happen when its time comes and it is picked.
func (s *scheduler) add(e happening) {
	s.mu.Lock()
	s.fresh = append(s.fresh, e)
	s.mu.Unlock()
	select {
	case s.arrived <- struct{}{}:
	default:
	}
}

// run lets things happen until the bubble's time is up, or until says so.
func (s *scheduler) run(end time.Time, until func() bool) {
	for {
		synctest.Wait()
		s.collect()
		if s.t.Failed() || until != nil && until() {
			return
		}
		now := time.Now()
		if !now.Before(end) {
			return
		}
		ready, next := s.ready(now, end)
		if len(ready) == 0 {
			s.sleep(next.Sub(now))
			continue
		}
		i := ready[s.rand.IntN(len(ready))]
		e := s.waiting[i]
		if s.trace != nil {
			s.note("-- the %dth of %d that may happen, of %d", i, len(ready), len(s.waiting))
		}
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.steps++
		e.happen(s)
	}
}

// collect takes in what arrived: sorted, since goroutines that one answer woke
// race to here.
func (s *scheduler) collect() {
	s.mu.Lock()
	fresh := s.fresh
	s.fresh = nil
	s.mu.Unlock()
	if len(fresh) > 1 {
		slices.SortStableFunc(fresh, func(a, b happening) int {
			return cmp.Or(strings.Compare(a.key(), b.key()), cmp.Compare(a.by(), b.by()))
		})
	}
	s.waiting = append(s.waiting, fresh...)
	s.waiting = slices.DeleteFunc(s.waiting, happening.gone)
}

// ready are the places of what may happen now; next is when the first of the
// others may.
func (s *scheduler) ready(now, end time.Time) (ready []int, next time.Time) {
	next = end
	for i, e := range s.waiting {
		if at := e.due(); at.After(now) {
			if at.Before(next) {
				next = at
			}
			continue
		}
		ready = append(ready, i)
	}
	return ready, next
}

func (s *scheduler) sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.arrived:
	}
}

// note adds a line to the trace.
func (s *scheduler) note(format string, args ...any) {
	line := fmt.Sprintf("%10.3f ", time.Since(s.start).Seconds()) + fmt.Sprintf(format, args...) + "\n"
	h := fnv.New64a()
	h.Write([]byte(line))
	s.hash = (s.hash ^ h.Sum64()) * 1099511628211
	if s.trace != nil {
		s.trace.WriteString(line)
	}
}

// chance is true with probability p.
func (s *scheduler) chance(p float64) bool { return s.rand.Float64() < p }

// between draws a duration; short ones are as likely as long ones.
func (s *scheduler) between(least, most time.Duration) time.Duration {
	for s.chance(0.5) {
		if half := least + (most-least)/2; half > least {
			most = half
		}
	}
	return least + time.Duration(s.rand.Int64N(int64(most-least)+1))
}

// Read is the source of all keys, ids and delays. Each place in the code has a
// source of its own: who else draws at the same moment makes no difference.
func (s *scheduler) Read(b []byte) (int, error) {
	from := caller()
	s.mu.Lock()
	defer s.mu.Unlock()
	source := s.sources[from]
	if source == nil {
		h := fnv.New64a()
		h.Write([]byte(from))
		var key [32]byte
		binary.LittleEndian.PutUint64(key[:], s.seed)
		binary.LittleEndian.PutUint64(key[8:], h.Sum64())
		source = rand.NewChaCha8(key)
		s.sources[from] = source
	}
	return source.Read(b)
}

// plan is something of the scenario itself.
type plan struct {
	at   time.Time
	name string
	do   func()
}

func (p *plan) key() string       { return p.name }
func (*plan) by() uint64          { return 0 }
func (p *plan) due() time.Time    { return p.at }
func (*plan) gone() bool          { return false }
func (p *plan) happen(*scheduler) { p.do() }

// later lets do happen after d, on the scheduler's goroutine.
func (s *scheduler) later(d time.Duration, name string, do func()) {
	s.add(&plan{time.Now().Add(d), name, do})
}

// verdict is what becomes of a call.
type verdict struct {
	wait time.Duration // it is on its way for so long, and decided on then
	skip bool          // it is not done
	err  error         // what the caller is told instead of the answer
	kill bool          // the caller's process dies before it hears the answer
}

// call is a call that leaves its process.
type call struct {
	who    *process
	method string // "store.Apply"
	about  string
	from   string // who in the program calls
	target string // the system that is called: "store", "bus", a target's name …
	change bool   // it changes something that the checks look at
	pure   bool   // it changes nothing at all

	goroutine uint64
	notBefore time.Time
	delayed   bool
	orphan    bool // nobody waits for the answer any more
	done      bool
	effect    func()
	fault     error
	answered  chan struct{}
}

func (c *call) key() string {
	return c.who.name + " " + c.method + " " + c.target + " " + c.about + " " + c.from
}
func (c *call) by() uint64     { return c.goroutine }
func (c *call) due() time.Time { return c.who.until(c.notBefore) }
func (*call) gone() bool       { return false }

func (c *call) happen(s *scheduler) {
	s.mu.Lock()
	orphan := c.orphan
	s.mu.Unlock()
	v := s.decide(c)
	if v.wait > 0 {
		c.delayed, c.notBefore = true, time.Now().Add(v.wait)
		s.waiting = append(s.waiting, c)
		return
	}
	what := ""
	switch {
	case v.skip:
		what = "not done"
	case v.err != nil:
		what = "done, answer lost"
	case orphan:
		what = "done late"
	}
	if v.kill {
		what += " (its process dies)"
	}
	if c.change || what != "" || s.trace != nil {
		s.note("%s %s %s %s", c.who.name, c.method, c.about, what)
	}
	if !v.skip {
		c.effect()
	}
	s.mu.Lock()
	c.done, c.fault = true, v.err
	s.mu.Unlock()
	if v.kill {
		c.who.kill()
	}
	if !orphan {
		close(c.answered)
	}
	if !v.skip {
		s.after(c)
	}
}

// process is one process of the system. It can die at any call: what its
// goroutines do from then on reaches nothing.
type process struct {
	s      *scheduler
	name   string // "issuer1.2": the second life
	skew   time.Duration
	ctx    context.Context // its life
	cancel context.CancelFunc
	all    sync.WaitGroup

	isDead atomic.Bool
	died   chan struct{}
	paused time.Time // it stands still until here
	onKill func()
}

func newProcess(s *scheduler, name string, skew time.Duration) *process {
	p := &process{s: s, name: name, skew: skew, died: make(chan struct{})}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

func (p *process) dead() bool { return p.isDead.Load() }

func (p *process) kill() {
	if p.isDead.Swap(true) {
		return
	}
	close(p.died)
	p.cancel()
	if p.onKill != nil {
		p.onKill()
	}
}

// until is when something that the process does at a time may happen: not while
// it stands still. What a dead one waits for ends at once.
func (p *process) until(at time.Time) time.Time {
	switch {
	case p.dead():
		return time.Time{}
	case p.paused.After(at):
		return p.paused
	}
	return at
}

// ask makes a call; effect is done when the scheduler picks it, at most once.
func ask[A any](ctx context.Context, p *process, c call, effect func() (A, error)) (A, error) {
	var (
		got  A
		err  error
		zero A
	)
	c.effect = func() { got, err = effect() }
	if broken := p.wait(ctx, &c); broken != nil {
		return zero, broken
	}
	return got, err
}

// wait stands still until the call was answered, or nobody waits for it any
// more; then it may still happen.
func (p *process) wait(ctx context.Context, c *call) error {
	if p.dead() {
		return errDead
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", c.method, err)
	}
	if c.pure && p.s.calm() {
		c.effect()
		return nil
	}
	c.who, c.from, c.goroutine, c.answered = p, caller(), goroutine(), make(chan struct{})
	p.s.add(c)
	select {
	case <-c.answered:
		if p.dead() {
			return errDead
		}
		return c.fault
	case <-ctx.Done():
	case <-p.died:
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if c.done && !p.dead() {
		return c.fault
	}
	c.orphan = true
	if p.dead() {
		return errDead
	}
	return fmt.Errorf("%s: %w: %w", c.method, errLost, ctx.Err())
}

// callers is a cache of what program counters are.
var callers sync.Map

// caller names the functions of the product that wait: it tells goroutines
// apart that one answer woke.
func caller() string {
	var pcs [14]uintptr
	n := runtime.Callers(4, pcs[:])
	var out strings.Builder
	for _, pc := range pcs[:n] {
		name, ok := callers.Load(pc)
		if !ok {
			name = named(pc)
			callers.Store(pc, name)
		}
		out.WriteString(name.(string)) //nolint:forcetypeassert // see named
	}
	return out.String()
}

// goroutine is the number of the goroutine that asks. Those that one place in
// the code makes one after the other, one for each target say, are alike but for
// their numbers, which rise in that order.
func goroutine() uint64 {
	var stack [40]byte // "goroutine 17 [running]:"
	words := strings.Fields(string(stack[:runtime.Stack(stack[:], false)]))
	n, err := strconv.ParseUint(words[1], 10, 64)
	if err != nil {
		panic(err) // the form is the runtime's
	}
	return n
}

func named(pc uintptr) string {
	frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
	_, path, ours := strings.Cut(frame.Function, "curfew-project/curfew/")
	if !ours || strings.Contains(path, "services/sim") {
		return ""
	}
	return fmt.Sprintf("<%s:%d", path, frame.Line)
}

// timer is a process's timer.
type timer struct {
	who     *process
	at      time.Time
	from    string
	maker   uint64 // its goroutine
	ch      chan time.Time
	stopped atomic.Bool
}

func (t *timer) key() string { return t.who.name + " timer " + t.from + t.at.String() }

func (t *timer) by() uint64 { return t.maker }

func (t *timer) due() time.Time { return t.who.until(t.at) }

func (t *timer) gone() bool { return t.stopped.Load() }

func (t *timer) happen(s *scheduler) {
	if s.trace != nil {
		s.note("%s timer %s", t.who.name, t.from)
	}
	t.ch <- time.Now()
}

// Now implements clock.Clock: the clock of the process is wrong by its skew.
func (p *process) Now() time.Time { return time.Now().Add(p.skew) }

// For implements clock.Teller. A loop asks for its clock when it begins: it
// waits for its turn, since it shares its process with others.
func (p *process) For(name string) clock.Clock {
	p.turn("begin " + name)
	return loopClock{p, name}
}

// turn waits until the scheduler picks it.
func (p *process) turn(name string) {
	turn, _ := p.timer(0, name)
	select {
	case <-turn:
	case <-p.died:
	}
}

// Timer implements clock.Clock.
func (p *process) Timer(d time.Duration) (<-chan time.Time, func()) { return p.timer(d, caller()) }

// loopClock is the clock of one loop of a process.
type loopClock struct {
	*process
	name string
}

// Turn implements clock.Turner: two loops that one signal woke share what they
// look at.
func (c loopClock) Turn() { c.turn("woken " + c.name) }

// Timer implements clock.Clock.
func (c loopClock) Timer(d time.Duration) (<-chan time.Time, func()) { return c.timer(d, c.name) }

func (p *process) timer(d time.Duration, from string) (<-chan time.Time, func()) {
	if p.dead() { // whoever waits comes to an end
		t := time.NewTimer(max(d, time.Millisecond))
		return t.C, func() { t.Stop() }
	}
	t := &timer{who: p, at: time.Now().Add(d), from: from, maker: goroutine(), ch: make(chan time.Time, 1)}
	p.s.add(t)
	return t.ch, func() { t.stopped.Store(true) }
}
