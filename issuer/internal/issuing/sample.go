package issuing

import (
	"context"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/clock"
)

// sample is what was found out about the installation, at most once a second,
// on behalf of whoever asks first.
type sample[T any] struct {
	clock clock.Clock
	take  func(context.Context) (T, error)

	mu    sync.Mutex
	taken time.Time
	found T
}

const sampleEvery = time.Second

// get is the sample, taken anew where it is older than [sampleEvery].
func (s *sample[T]) get(ctx context.Context) (T, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.clock.Now(); s.taken.IsZero() || now.Sub(s.taken) >= sampleEvery {
		found, err := s.take(ctx)
		if err != nil {
			return found, err
		}
		s.taken, s.found = now, found
	}
	return s.found, nil
}
