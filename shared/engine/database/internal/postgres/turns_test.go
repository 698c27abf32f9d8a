package postgres

import (
	"context"
	"testing"

	"pgregory.net/rapid"
)

// Whoever waits gets a turn soon: of any four turns in a row during which both
// classes wait, each has one at least, and removals have the rest (B7).
func TestTurnsAreShared(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		turns := newTurns(&dialer{}, pool{writers: 1, idle: 1})
		lane, err := turns.take(context.Background(), creations)
		if err != nil {
			t.Fatal(err)
		}
		granted := make(chan class)
		waiting := [2]int{}
		enqueue := func(c class) {
			before := length(turns, c)
			go func() {
				l, err := turns.take(context.Background(), c)
				if err != nil || l == nil {
					panic("no lane")
				}
				granted <- c
			}()
			for length(turns, c) == before { //nolint:revive // until the goroutine waits
			}
			waiting[c]++
		}
		streak := [2]int{} // turns in a row of the other class while this one waited
		for step := range rapid.IntRange(1, 40).Draw(t, "steps") {
			for _, c := range []class{removals, creations} {
				for range rapid.IntRange(0, 2).Draw(t, "arrivals") {
					enqueue(c)
				}
			}
			if waiting[removals]+waiting[creations] == 0 {
				continue
			}
			turns.give(context.Background(), lane)
			c := <-granted
			waiting[c]--
			other := creations - c
			streak[c] = 0
			if streak[other]++; waiting[other] == 0 {
				streak[other] = 0
			}
			if streak[creations] > 3 || streak[removals] > 1 {
				t.Fatalf("step %d: one class waited for %v turns", step, streak)
			}
		}
		for n := waiting[removals] + waiting[creations]; n > 0; n-- {
			turns.give(context.Background(), lane)
			<-granted
		}
	})
}

func length(t *turns, c class) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting[c])
}

func TestTurnThatIsGivenUp(t *testing.T) {
	t.Parallel()
	turns := newTurns(&dialer{}, pool{writers: 1, idle: 1})
	lane, err := turns.take(t.Context(), removals)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := turns.take(ctx, creations); err == nil {
		t.Fatal("a turn without a lane")
	}
	turns.give(context.Background(), lane)
	if again, err := turns.take(t.Context(), creations); err != nil || again != lane {
		t.Fatalf("%v: the lane was given to who left", err)
	}
}
