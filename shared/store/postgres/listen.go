package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/step"
)

const (
	// listenIdle is how long nothing may come before the connection is tried.
	listenIdle   = 30 * time.Second
	listenFirst  = 100 * time.Millisecond
	listenLonger = 10 * time.Second
)

// channel is what commits with events are notified on.
func (s *Store) channel() string { return "curfew_events_" + s.cfg.Schema }

// Listen hears of the commits of other processes, until ctx ends, and wakes
// whoever watches. It has a connection of its own and makes it again when it
// breaks; what was missed meanwhile is one more hint. Nothing depends on it: a
// publisher that hears nothing looks by itself. Where there is nowhere to
// listen (behind a pooler, without a ListenURL) it waits for ctx.
func (s *Store) Listen(ctx context.Context) error {
	url := s.cfg.ListenURL
	if url.Empty() && !s.cfg.Pooled {
		url = s.cfg.URL
	}
	if url.Empty() {
		<-ctx.Done()
		return nil
	}
	direct := s.cfg
	direct.Pooled = false
	config, err := parse(url, direct)
	if err != nil {
		return err
	}
	delete(config.RuntimeParams, "idle_in_transaction_session_timeout")
	delay := listenFirst
	for {
		began := s.local.Now()
		err := s.listen(ctx, config)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // asked to stop: what was cut short is no failure
		}
		if s.local.Now().Sub(began) > listenIdle {
			delay = listenFirst
		}
		s.log.Warn().Err(err).Dur("retry_in", delay).Msg("notifications of the store are not heard")
		t, stop := s.local.Timer(step.Jitter(delay))
		select {
		case <-t:
		case <-ctx.Done():
		}
		stop()
		delay = min(2*delay, listenLonger)
	}
}

func (s *Store) listen(ctx context.Context, config *pgx.ConnConfig) error {
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	if _, err := c.Exec(ctx, "LISTEN "+pgx.Identifier{s.channel()}.Sanitize()); err != nil {
		return err
	}
	s.watch.Set() // of what was committed before
	for {
		wait, cancel := context.WithTimeout(ctx, listenIdle)
		n, err := c.WaitForNotification(wait)
		cancel()
		switch {
		case err == nil:
			if n.Payload != s.instance {
				s.watch.Set()
			}
		case ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded):
			if err := c.Ping(ctx); err != nil {
				return err
			}
		default:
			return err
		}
	}
}
