package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/bus"
	"github.com/curfew-project/curfew/shared/event"
)

// compare makes sure, before the first event is sent, that the stream has
// nothing that the store does not have: its last event is one of the store's. A
// store that went back to a copy, as did the ledger, while the stream did not
// answer, has given the same numbers to other events since; the broker would
// take those for duplicates (A7).
func (p *Publisher) compare(ctx context.Context) error {
	if p.compared {
		return nil
	}
	proof, tail, err := p.differs(ctx)
	if err == nil && proof != "" && tail != p.told {
		err = p.rewound(ctx, proof)
		if !p.held { // that was done, and is not done again for a stream that lies
			p.told = tail
		}
	}
	p.compared = err == nil
	return err
}

// differs says how the stream's last event is none of the store's, or nothing.
func (p *Publisher) differs(ctx context.Context) (proof string, tail event.Position, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	last, err := p.bus.Tail(ctx)
	tail = last.Position
	if errors.Is(err, bus.ErrNoStream) || err == nil && !p.sent.Before(tail) {
		return "", tail, nil
	}
	if err != nil {
		return "", tail, err
	}
	// In this order: an event has its number in the store before it is published,
	// by whomever.
	head, err := p.store.Head(ctx)
	if err != nil {
		return "", tail, fmt.Errorf("read the head: %w", err)
	}
	if head.Before(tail) {
		return fmt.Sprintf("its last event is %s, the stream has %s", head, tail), tail, nil
	}
	if tail.Epoch < head.Epoch || last.Type == "" {
		return "", tail, nil
	}
	before := tail
	before.Number--
	events, err := p.store.Events(ctx, before, 1)
	if err != nil {
		return "", tail, fmt.Errorf("read an event: %w", err)
	}
	// It may be sent, recorded and deleted by another publisher meanwhile.
	if len(events) == 0 || events[0].Position != tail {
		return "", tail, nil
	}
	if events[0].Same(&last) {
		return "", tail, nil
	}
	return fmt.Sprintf("its event %s is another than the stream's", tail), tail, nil
}
