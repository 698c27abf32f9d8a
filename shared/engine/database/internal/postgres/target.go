package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/gather"
)

// Target is one PostgreSQL server with an admin user. Its methods may be called
// from many goroutines.
type Target struct {
	settings Settings
	creds    Credentials
	clk      clock.Clock
	notes    Notes

	main     *dialer
	replicas []*replica
	clocks   *clocks
	plans    *plans

	disable *lane // stage (a)
	observe *lane // stage (b), clock, lists
	solo    *lane
	static  *lane // accounts that people made
	groups  *lane // group roles
	writers *turns

	rehearsing *lane
	rehearsals atomic.Int64 // under way or waiting

	disabling *gather.Gatherer[[]subject, []disabled]
	ending    *gather.Gatherer[roundIn, roundOut]
	creating  []*gather.Gatherer[[]*job, error]
	renewing  []*gather.Gatherer[[]*job, error]
	removing  []*gather.Gatherer[[]*job, error]
	next      atomic.Uint64 // spreads calls over the gatherers of several writers
	waiting   [2]atomic.Int64
}

// New returns a target; it starts and dials nothing. An error is an
// [*engine.Error] that says what is wrong with the settings.
func New(creds Credentials, clk clock.Clock, notes Notes, s Settings) (*Target, error) {
	s, err := s.complete()
	if err != nil {
		return nil, &engine.Error{Kind: engine.Invalid, Message: err.Error(), Err: err}
	}
	t := &Target{settings: s, creds: creds, clk: clk, notes: notes, clocks: &clocks{clk: clk}, plans: newPlans()}
	if t.main, err = newDialer(s, s.URL, creds, clk); err != nil {
		return nil, err
	}
	for _, url := range s.Replicas {
		d, err := newDialer(s, url, creds, clk)
		if err != nil {
			return nil, err
		}
		d.standby = true
		t.replicas = append(t.replicas, newReplica(t, d))
	}
	t.disable, t.observe, t.solo, t.static = newLane(t.main), newLane(t.main), newLane(t.main), newLane(t.main)
	t.rehearsing, t.groups = newLane(t.main), newLane(t.main)
	t.writers = newTurns(t.main, pool{writers: s.MaxOpen, idle: s.MaxIdle, lifetime: s.MaxLifetime})
	t.disabling = gather.New(gather.Config{Max: maxUnits}, t.disableAll)
	t.ending = gather.New(gather.Config{Max: maxUnits}, t.rounds(t.observe))
	for range s.MaxOpen {
		t.creating = append(t.creating, gather.New(gather.Config{Max: maxUnits}, t.work(t.making())))
		t.renewing = append(t.renewing, gather.New(gather.Config{Max: maxUnits}, t.work(t.prolonging())))
		t.removing = append(t.removing, gather.New(gather.Config{Max: maxUnits}, t.work(t.dropping())))
	}
	return t, nil
}

// Identify connects and returns which system answers.
func (t *Target) Identify(ctx context.Context) (Identity, error) {
	var id Identity
	err := t.look(ctx, func(_ context.Context, l *link) error {
		id = l.facts.Identity
		return nil
	})
	return id, err
}

// Incarnation names the present life of the system: which one it is, on which
// timeline, and since when it runs. A commit that was not flushed is lost only
// where one of them changes.
func (t *Target) Incarnation(ctx context.Context) (string, error) {
	var name string
	err := t.look(ctx, func(ctx context.Context, l *link) error {
		got, err := l.query(ctx, `SELECT pg_catalog.pg_postmaster_start_time()::pg_catalog.text`)
		if err != nil {
			return err
		}
		if len(got) != 1 || len(got[0]) != 1 {
			return errors.New("read the start time: no row")
		}
		name = fmt.Sprintf("%+v since %s", l.facts.Identity, got[0][0])
		return nil
	})
	return name, err
}

// Trim closes connections of the work lane that rest and have outlived their
// lifetime.
func (t *Target) Trim(ctx context.Context) { t.writers.trim(ctx) }

// Close waits for what is under way and closes all connections, at most until
// ctx ends. Calls that come later are refused.
func (t *Target) Close(ctx context.Context) error {
	lanes := []*lane{t.disable, t.observe, t.solo, t.static, t.groups, t.rehearsing}
	for _, r := range t.replicas {
		lanes = append(lanes, r.lane)
	}
	if err := t.writers.close(ctx); err != nil {
		return fmt.Errorf("close target: %w", err)
	}
	for _, l := range lanes {
		if err := l.close(ctx); err != nil {
			return fmt.Errorf("close target: %w", err)
		}
	}
	return nil
}
