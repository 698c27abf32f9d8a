package issuing

import (
	"context"
	"fmt"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// sample is what was found out about the installation, at most once a second,
// on behalf of whoever asks first. Who waits for that waits no longer than its
// own request may last.
type sample[T any] struct {
	clock clock.Clock
	take  func(context.Context) (T, error)

	asking chan struct{} // held while it is looked at or taken
	taken  time.Time
	found  T
}

const sampleEvery = time.Second

func newSample[T any](c clock.Clock, take func(context.Context) (T, error)) *sample[T] {
	return &sample[T]{clock: c, take: take, asking: make(chan struct{}, 1)}
}

// get is the sample, taken anew where it is older than [sampleEvery].
func (s *sample[T]) get(ctx context.Context) (T, error) {
	select {
	case s.asking <- struct{}{}:
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("wait for a sample: %w", ctx.Err())
	}
	defer func() { <-s.asking }()
	if now := s.clock.Now(); s.taken.IsZero() || now.Sub(s.taken) >= sampleEvery {
		found, err := s.take(ctx)
		if err != nil {
			return found, err
		}
		s.taken, s.found = now, found
	}
	return s.found, nil
}
