package gather_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/gather"
)

// gate is a batch function whose batches wait to be let through.
type gate struct {
	open    chan struct{}
	batches [][]int // only one batch runs at a time, which -race proves
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

func (g *gate) do(in []int) []int {
	g.batches = append(g.batches, slices.Clone(in))
	<-g.open
	out := make([]int, len(in))
	for i, v := range in {
		out[i] = -v
	}
	return out
}

// Law: what arrives while a batch is under way makes the next batches, in
// order, each of at most Max items; each call gets its own answer.
func TestGathersWhileABatchIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		q := gather.New(gather.Config{Max: 3}, g.do)
		for i := range 6 {
			go func() {
				if out, err := q.Do(t.Context(), i+1); err != nil || out != -(i+1) {
					t.Errorf("Do(%d) = %d, %v", i+1, out, err)
				}
			}()
			synctest.Wait() // so that they arrive in order
		}
		for range 3 {
			g.open <- struct{}{}
			synctest.Wait()
		}
		if want := [][]int{{1}, {2, 3, 4}, {5, 6}}; fmt.Sprint(g.batches) != fmt.Sprint(want) {
			t.Errorf("batches are %v, want %v", g.batches, want)
		}
	})
}

// Law: a lone call waits for nobody.
func TestALoneCallIsABatch(t *testing.T) {
	t.Parallel()
	q := gather.New(gather.Config{}, func(in []int) []int { return in })
	for i := range 3 {
		if out, err := q.Do(t.Context(), i); out != i || err != nil {
			t.Errorf("Do(%d) = %d, %v", i, out, err)
		}
	}
}

// Law: whoever gave up before its batch started is not processed, and is
// answered at once.
func TestWhoGaveUpIsNotProcessed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		q := gather.New(gather.Config{}, g.do)
		go func() { _, _ = q.Do(t.Context(), 1) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		answered := make(chan error, 1)
		go func() {
			_, err := q.Do(ctx, 2)
			answered <- err
		}()
		go func() { _, _ = q.Do(t.Context(), 3) }()
		synctest.Wait()
		cancel()
		if err := <-answered; !errors.Is(err, context.Canceled) {
			t.Errorf("the call that gave up: %v", err)
		}
		g.open <- struct{}{}
		g.open <- struct{}{}
		synctest.Wait()
		if want := [][]int{{1}, {3}}; fmt.Sprint(g.batches) != fmt.Sprint(want) {
			t.Errorf("batches are %v, want %v", g.batches, want)
		}
		if _, err := q.Do(ctx, 4); !errors.Is(err, context.Canceled) || len(g.batches) != 2 {
			t.Errorf("a call with a dead context: %v, batches %v", err, g.batches)
		}
	})
}

// Law: a call whose batch has started gets its answer, whatever its context.
func TestWhatStartedIsFinished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		q := gather.New(gather.Config{}, g.do)
		ctx, cancel := context.WithCancel(t.Context())
		type answer struct {
			out int
			err error
		}
		answers := make(chan answer, 2)
		ask := func(ctx context.Context, in int) {
			out, err := q.Do(ctx, in)
			answers <- answer{out, err}
		}
		go ask(t.Context(), 1)
		synctest.Wait()
		go ask(t.Context(), 2)
		synctest.Wait()
		go ask(ctx, 3)
		synctest.Wait()
		g.open <- struct{}{}
		synctest.Wait() // 2 leads, 3 is in its batch
		cancel()
		synctest.Wait()
		if len(answers) != 1 {
			t.Fatalf("%d answers before the batch ended, want that of 1", len(answers))
		}
		g.open <- struct{}{}
		for _, want := range []int{-1, -2, -3} {
			if a := <-answers; a.err != nil {
				t.Errorf("answer %+v, want about %d", a, want)
			}
		}
	})
}

// Law (E): at most Limit calls wait; more are refused at once.
func TestTheQueueIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		q := gather.New(gather.Config{Limit: 2}, g.do)
		for i := range 3 { // one under way, two waiting
			go func() { _, _ = q.Do(t.Context(), i) }()
			synctest.Wait()
		}
		if _, err := q.Do(t.Context(), 9); !errors.Is(err, gather.ErrFull) {
			t.Errorf("a call too many: %v, want ErrFull", err)
		}
		close(g.open)
		synctest.Wait()
		if _, err := q.Do(t.Context(), 9); err != nil {
			t.Errorf("a call after the rush: %v", err)
		}
	})
}

// Law: a batch that panics, or has too few answers, panics in each of its
// callers; the next batch runs.
func TestACrashReachesEachCaller(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]func([]int) []int{
		"panic":       func([]int) []int { panic("broken") },
		"too few":     func([]int) []int { return nil },
		"exact panic": func(in []int) []int { panic(in) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wait := make(chan struct{})
				var n atomic.Int32
				q := gather.New(gather.Config{}, func(in []int) []int {
					switch n.Add(1) {
					case 1:
						<-wait
					case 2:
						return bad(in)
					}
					return in
				})
				var crashed atomic.Int32
				for i := range 3 {
					go func() {
						defer func() {
							if recover() != nil {
								crashed.Add(1)
							}
						}()
						_, _ = q.Do(t.Context(), i)
					}()
					synctest.Wait()
				}
				close(wait)
				synctest.Wait()
				if crashed.Load() != 2 {
					t.Errorf("%d callers saw the crash, want the 2 of the batch", crashed.Load())
				}
				if out, err := q.Do(t.Context(), 7); out != 7 || err != nil {
					t.Errorf("the next call: %d, %v", out, err)
				}
			})
		})
	}
}

// Law: with callers that come and give up at random, every call that was not
// refused is processed exactly once, and every call is answered.
func TestEachCallIsProcessedOnceOrRefused(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		calls := rapid.IntRange(1, 60).Draw(rt, "calls")
		cfg := gather.Config{Max: rapid.IntRange(1, 8).Draw(rt, "max"), Limit: rapid.IntRange(1, 40).Draw(rt, "limit")}
		givesUp := rapid.SliceOfN(rapid.Bool(), calls, calls).Draw(rt, "gives up")
		var mu sync.Mutex
		processed := map[int]int{}
		q := gather.New(cfg, func(in []int) []int {
			mu.Lock()
			defer mu.Unlock()
			for _, v := range in {
				processed[v]++
			}
			if len(in) > cfg.Max {
				rt.Errorf("a batch of %d items, the most is %d", len(in), cfg.Max)
			}
			return in
		})
		var wg sync.WaitGroup
		answers := make([]error, calls)
		for i := range calls {
			wg.Go(func() {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				if givesUp[i] {
					go cancel()
				}
				out, err := q.Do(ctx, i)
				if err == nil && out != i {
					rt.Errorf("call %d got the answer of %d", i, out)
				}
				answers[i] = err
			})
		}
		wg.Wait()
		for i, err := range answers {
			if want := map[bool]int{true: 1, false: 0}[err == nil]; processed[i] != want {
				rt.Errorf("call %d (%v) was processed %d times, want %d", i, err, processed[i], want)
			}
		}
	})
}
