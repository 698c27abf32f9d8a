package hangup_test

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/curfew-project/curfew/services/internal/hangup"
)

// A SIGHUP is answered, another one too, and the end of ctx ends it.
func TestEach(t *testing.T) {
	t.Parallel()
	other := make(chan os.Signal, 1) // until it listens, a signal would end the test
	signal.Notify(other, syscall.SIGHUP)
	defer signal.Stop(other)
	ctx, cancel := context.WithCancel(t.Context())
	asked, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() { ended <- hangup.Each(ctx, func() { asked <- struct{}{} }) }()
	for answers, deadline := 0, time.Now().Add(time.Minute); answers < 2; {
		if time.Now().After(deadline) {
			t.Fatal("no signal is answered")
		}
		if err := syscall.Kill(syscall.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		select {
		case <-asked:
			answers++
		case <-time.After(10 * time.Millisecond): // it may not listen yet
		}
	}
	cancel()
	for {
		select {
		case <-asked: // more than were counted
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			return
		}
	}
}
