package step_test

import (
	"context"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/step"
)

// What is set is done, also again, until the end of ctx.
func TestWatchersEach(t *testing.T) {
	t.Parallel()
	var w step.Watchers
	ctx, cancel := context.WithCancel(t.Context())
	did, ended := make(chan struct{}, 8), make(chan error, 1)
	go func() { ended <- w.Each(ctx, func() { did <- struct{}{} }) }()
	for done, deadline := 0, time.Now().Add(time.Minute); done < 2; {
		if time.Now().After(deadline) {
			t.Fatal("nothing is done")
		}
		w.Set()
		select {
		case <-did:
			done++
		case <-time.After(10 * time.Millisecond): // it may not watch yet
		}
	}
	cancel()
	for {
		select {
		case <-did: // more than were counted
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}
