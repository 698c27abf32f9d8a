package database

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/database/internal/postgres"
	"github.com/curfew-project/curfew/shared/lease"
)

// targets are the open targets, by the id of their connection. One is opened
// at the first use, made anew when its connection has changed, and closed when
// nobody has used it for a while.
type targets struct {
	mu     sync.Mutex
	open   map[string]*opened
	closed bool
	// leaving counts targets that were replaced and still have users.
	leaving sync.WaitGroup
}

// opened is one target and who uses it.
type opened struct {
	*postgres.Target
	fingerprint string
	users       int // under targets.mu
	lastUsed    time.Time
	replaced    bool
	offset      offset
}

var errEngineClosed = &engine.Error{Kind: engine.Unreachable, Message: "the engine is being closed"}

// closing bounds how long a target that is not needed any more may take to
// end its sessions.
const closing = 30 * time.Second

// use opens the target of a connection, as the store has it now, and runs do
// on it. The connection that do gets says which system it is. Errors of use
// itself are of type *engine.Error.
func (e *Engine) use(ctx context.Context, id string, do func(*opened, *stored) error) error {
	s, err := e.connectionByID(ctx, id)
	if err != nil {
		return err
	}
	return e.useStored(ctx, s, do)
}

// useStored is use for who has just read the connection.
func (e *Engine) useStored(ctx context.Context, s *stored, do func(*opened, *stored) error) (err error) {
	if s.Identity.SystemID == "" {
		if s, err = e.identify(ctx, s); err != nil {
			return err
		}
	}
	return e.with(ctx, s, func(o *opened) error { return do(o, s) })
}

func (e *Engine) with(ctx context.Context, s *stored, do func(*opened) error) error {
	o, err := e.take(ctx, s)
	if err != nil {
		return err
	}
	defer e.leave(ctx, o)
	return do(o)
}

// identify remembers which system answers a connection that was stored without
// verification, so that absence is never proved on another (C6).
func (e *Engine) identify(ctx context.Context, s *stored) (*stored, error) {
	var seen postgres.Identity
	err := e.with(ctx, s, func(o *opened) (err error) {
		seen, err = o.Identify(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	url := s.URL
	err = e.edit(ctx, s.entry.ID, system(), "target identified", func(s *stored) (bool, error) {
		if s.Identity.SystemID != "" || s.URL != url {
			return false, nil
		}
		s.Identity = seen
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	if s, err = e.connectionByID(ctx, s.entry.ID); err == nil && s.Identity.SystemID == "" {
		err = &engine.Error{Kind: engine.Conflict, Message: "the connection was changed at the same time: try again"}
	}
	return s, err
}

// system is the actor of what the engine does by itself.
func system() lease.Actor { return lease.System("system:database") }

// take returns the target of a connection and counts its user.
func (e *Engine) take(ctx context.Context, s *stored) (*opened, error) {
	fingerprint, err := s.fingerprint()
	if err != nil {
		return nil, err
	}
	t := &e.targets
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, errEngineClosed
	}
	o := t.open[s.entry.ID]
	if o == nil || o.fingerprint != fingerprint {
		target, err := e.newTarget(s) //nolint:contextcheck // a target outlives the call that opens it
		if err != nil {
			return nil, err
		}
		e.replace(ctx, s.entry.ID, &opened{Target: target, fingerprint: fingerprint})
		o = t.open[s.entry.ID]
	}
	o.users++
	o.lastUsed = e.clock.Now()
	return o, nil
}

// newTarget dials nothing.
func (e *Engine) newTarget(s *stored) (*postgres.Target, error) {
	settings, err := e.settings(&s.connection)
	if err != nil {
		return nil, err
	}
	return postgres.New(&credentials{e, s.entry.ID}, e.clock, e, settings)
}

func (e *Engine) settings(c *connection) (postgres.Settings, error) {
	key, err := c.open(e.sealer, fieldPrivateKey, c.ClientPEM)
	if err != nil {
		return postgres.Settings{}, err
	}
	return c.settings(e.cfg.Program, key), nil
}

// replace puts o, or nothing, in the place of a target; targets.mu is held.
// Who uses the old one finishes on it.
func (e *Engine) replace(ctx context.Context, id string, o *opened) {
	t := &e.targets
	if old := t.open[id]; old != nil {
		old.replaced = true
		if old.users == 0 {
			t.leaving.Go(func() { e.shut(ctx, old) })
		} else {
			t.leaving.Add(1) // until its last user leaves
		}
	}
	delete(t.open, id)
	if o != nil {
		t.open[id] = o
	}
}

// leave gives a target back; the last user of a replaced one closes it.
func (e *Engine) leave(ctx context.Context, o *opened) {
	t := &e.targets
	t.mu.Lock()
	o.users--
	o.lastUsed = e.clock.Now()
	last := o.replaced && o.users == 0
	t.mu.Unlock()
	if last {
		defer t.leaving.Done()
		e.shut(ctx, o)
	}
}

// shut closes a target that was taken out of the map.
func (e *Engine) shut(ctx context.Context, o *opened) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closing)
	defer cancel()
	if err := o.Close(ctx); err != nil {
		e.log.Warn().Err(err).Msg("sessions of a target were not closed in time")
	}
}

// reopen makes the next user of a connection dial anew.
func (e *Engine) reopen(ctx context.Context, id string) {
	e.targets.mu.Lock()
	defer e.targets.mu.Unlock()
	e.replace(ctx, id, nil)
}

// closeIdle closes targets that nobody has used for a while, those whose
// connection another process has deleted or changed, and of the others the
// connections that rest and have outlived their lifetime.
func (e *Engine) closeIdle(ctx context.Context) {
	for id, o := range e.stay(ctx) {
		if e.outdated(ctx, id, o) {
			e.drop(ctx, id, o)
			continue
		}
		o.Trim(ctx)
	}
}

// stay closes idle targets and returns the others.
func (e *Engine) stay(ctx context.Context) map[string]*opened {
	t := &e.targets
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, o := range t.open {
		if o.users == 0 && e.clock.Now().Sub(o.lastUsed) > e.cfg.Idle {
			e.replace(ctx, id, nil)
		}
	}
	return maps.Clone(t.open)
}

// outdated reports whether a connection is gone, or leads elsewhere by now. Where
// the store does not say, it is taken for neither.
func (e *Engine) outdated(ctx context.Context, id string, o *opened) bool {
	s, err := e.connectionByID(ctx, id)
	if err != nil {
		return engine.AsError(err).Kind == engine.NotFound
	}
	fingerprint, err := s.fingerprint()
	return err == nil && fingerprint != o.fingerprint
}

// drop closes a target, unless another has its place by now.
func (e *Engine) drop(ctx context.Context, id string, o *opened) {
	t := &e.targets
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[id] == o {
		e.replace(ctx, id, nil)
	}
}

func (t *targets) close(ctx context.Context) error {
	t.mu.Lock()
	t.closed = true
	all := t.open
	t.open = map[string]*opened{}
	t.mu.Unlock()
	var err error
	for _, o := range all {
		err = errors.Join(err, o.Close(ctx))
	}
	done := make(chan struct{})
	go func() {
		t.leaving.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		err = errors.Join(err, ctx.Err())
	}
	return err
}

// offset is the target's clock minus the store's, as last sampled.
type offset struct {
	sampling sync.Mutex
	mu       sync.Mutex
	at       time.Time // local
	value    time.Duration
	known    bool
}

// sampleEvery is how old a sample may be. A wrong one makes a creation fail or
// a roll-back wait, no worse.
const sampleEvery = 30 * time.Second

func (o *offset) last(now time.Time) (value time.Duration, known, fresh bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	age := now.Sub(o.at)
	return o.value, o.known, o.known && age >= 0 && age < sampleEvery
}

// clockOffset samples where it must. While one caller samples, others go by
// the last value where there is one.
func (e *Engine) clockOffset(ctx context.Context, o *opened) (time.Duration, error) {
	value, known, fresh := o.offset.last(e.clock.Now())
	if fresh {
		return value, nil
	}
	if !o.offset.sampling.TryLock() {
		if known {
			return value, nil
		}
		o.offset.sampling.Lock()
	}
	defer o.offset.sampling.Unlock()
	if value, _, fresh = o.offset.last(e.clock.Now()); fresh {
		return value, nil
	}
	target, err := o.Clock(ctx)
	if err != nil {
		return 0, err
	}
	before := e.clock.Now()
	storeNow, err := e.store.Now(ctx)
	if err != nil {
		return 0, storeError("read the store's clock", err)
	}
	now := e.clock.Now()
	local := before.Add(now.Sub(before) / 2)
	value = target.Offset - storeNow.Sub(local)
	o.offset.mu.Lock()
	defer o.offset.mu.Unlock()
	o.offset.at, o.offset.value, o.offset.known = now, value, true
	return value, nil
}
