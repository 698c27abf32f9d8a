package appender

import (
	"context"
	"fmt"

	"github.com/curfew-project/curfew/shared/event"
)

// listen waits for the stream or an announced head to say that there is more.
// lost: the stream does not answer.
func (a *Appender) listen(ctx context.Context) (lost bool) {
	err := a.fetch(ctx)
	switch {
	case err == nil && a.silent:
		a.log.Info().Msg("the stream answers again")
	case err != nil && !a.silent && ctx.Err() == nil:
		a.log.Warn().Err(err).Msg("the stream does not answer; asking the store")
	}
	a.silent = err != nil
	select {
	case head := <-a.heads:
		a.heard(head)
	default:
	}
	return err != nil
}

// heard takes a hint. One that is wrong costs a look at the store, which knows
// better.
func (a *Appender) heard(p event.Position) {
	if a.known.Before(p) {
		a.known = p
	}
}

func (a *Appender) fetch(ctx context.Context) error {
	if err := a.follow(ctx); err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, a.cfg.Wait+patience)
	defer cancel()
	events, err := a.consumer.Fetch(bounded, a.cfg.Batch, a.cfg.Wait)
	for _, e := range events {
		a.heard(e.Position)
	}
	if err != nil || len(events) == 0 {
		return err
	}
	return a.consumer.Ack(bounded)
}

// follow opens the stream where it is not open, from its next event on: what
// was before is in the store.
func (a *Appender) follow(ctx context.Context) (err error) {
	if a.heads == nil {
		if a.heads, err = a.stream.Heads(ctx); err != nil {
			return fmt.Errorf("follow the head: %w", err)
		}
	}
	if a.consumer != nil {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, a.cfg.Wait+patience)
	defer cancel()
	c, err := a.stream.Consume(bounded, a.cfg.Consumer, false)
	if err != nil {
		return fmt.Errorf("follow the stream: %w", err)
	}
	a.consumer = c
	return nil
}
