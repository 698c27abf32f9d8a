package heartbeat

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/step"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	every  = 10 * time.Second
	within = 5 * time.Second
	// tolerable is the skew above which a person is told: what is logged and
	// recorded by different machines is then hard to put in order.
	tolerable = 2 * time.Second
)

// Store is what a heartbeat needs of the store.
type Store interface {
	store.Entries
	store.Time
}

// Heartbeat is the step of one process. Make it with [New].
type Heartbeat struct {
	store  Store
	clock  clock.Clock
	log    zerolog.Logger
	says   installation.Process
	skewed bool // and that was logged
	wake   step.Signal

	mu    sync.Mutex
	about *installation.Revoking // what it says of the index
}

// New returns the heartbeat of a process that starts now. name is unique in the
// installation.
func New(s Store, c clock.Clock, log zerolog.Logger, name, program, version string) *Heartbeat {
	return &Heartbeat{store: s, clock: c, log: log, wake: step.NewSignal(), says: installation.Process{
		Name: name, Program: program, Version: version, Started: c.Now(),
	}}
}

// Tell gives what the process says of the index that it revokes from: at once
// where that matters to who asks, with the next beat otherwise.
func (h *Heartbeat) Tell(r installation.Revoking) {
	h.mu.Lock()
	was := h.about
	h.about = &r
	h.mu.Unlock()
	if was == nil || was.Known != r.Known || (was.Missing > 0) != (r.Missing > 0) {
		h.wake.Set()
	}
}

// Wake implements [step.Waker].
func (h *Heartbeat) Wake() <-chan struct{} { return h.wake }

// OwnName tells a process apart that was given no name.
func OwnName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "-" + strconv.Itoa(os.Getpid())
}

// Name implements [step.Step].
func (h *Heartbeat) Name() string { return "heartbeat" }

// Do implements [step.Step].
func (h *Heartbeat) Do(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	before := h.clock.Now()
	now, err := h.store.Now(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the store's clock: %w", err)
	}
	h.says.Seen, h.says.Skew = now, skew(before, h.clock.Now(), now)
	h.mu.Lock()
	h.says.Revoker = h.about
	h.mu.Unlock()
	h.warn()
	if err := installation.Beat(ctx, h.store, h.says); err != nil {
		return 0, err
	}
	return every, nil
}

// skew is how far the clock that read before and after is ahead of the one that
// read at between them, beyond what the time in between can explain.
func skew(before, after, at time.Time) time.Duration {
	half := max(0, after.Sub(before)) / 2
	d := before.Round(0).Add(half).Sub(at) // by the wall, not the monotonic clock
	if d.Abs() <= half+1 {                 // half is rounded
		return 0
	}
	return d
}

// warn tells of a clock that is far off, and when it is not any more.
func (h *Heartbeat) warn() {
	far := h.says.Skew.Abs() > tolerable
	switch {
	case far && !h.skewed:
		h.log.Warn().Stringer("skew", h.says.Skew).Msg("this machine's clock is not the store's: set both by the same time servers")
	case h.skewed && !far:
		h.log.Info().Stringer("skew", h.says.Skew).Msg("this machine's clock is the store's again")
	}
	h.skewed = far
}

// Close says that the process stops in order.
func (h *Heartbeat) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return installation.Gone(ctx, h.store, h.says.Name)
}

var (
	_ step.Step  = (*Heartbeat)(nil)
	_ step.Waker = (*Heartbeat)(nil)
)
