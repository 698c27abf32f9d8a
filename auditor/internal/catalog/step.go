package catalog

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
)

// Ledger is what the catalogue reads.
type Ledger interface {
	Entries(ctx context.Context, epoch, from, to int64) iter.Seq2[ledger.Entry, error]
	Epochs() ([]int64, error)
	Size(epoch int64) (int64, error)
}

const batch = 1000

// Follower is the step that brings the catalogue up to the ledger.
type Follower struct {
	ledger  Ledger
	catalog *Catalog
	wake    step.Signal
}

// NewFollower returns the step; Follower.Notify wakes it.
func NewFollower(l Ledger, c *Catalog) *Follower {
	return &Follower{ledger: l, catalog: c, wake: step.NewSignal()}
}

// Name implements [step.Step].
func (f *Follower) Name() string { return "catalogue" }

// Wake implements [step.Waker].
func (f *Follower) Wake() <-chan struct{} { return f.wake }

// Notify says that the ledger has grown.
func (f *Follower) Notify() { f.wake.Set() }

// Do implements [step.Step].
func (f *Follower) Do(ctx context.Context) (time.Duration, error) {
	epochs, err := f.ledger.Epochs()
	if err != nil {
		return 0, fmt.Errorf("list segments: %w", err)
	}
	for _, epoch := range epochs {
		if err := f.follow(ctx, epoch); err != nil {
			return 0, err
		}
	}
	return time.Second, nil
}

func (f *Follower) follow(ctx context.Context, epoch int64) error {
	at, err := f.catalog.Position(ctx, epoch)
	if err != nil {
		return err
	}
	size, err := f.ledger.Size(epoch)
	if err != nil {
		return fmt.Errorf("read the size of segment %d: %w", epoch, err)
	}
	var events []event.Event
	for entry, err := range f.ledger.Entries(ctx, epoch, at.Number+1, size) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		e, err := Decode(entry.Data)
		if err != nil {
			return err
		}
		if events = append(events, e); len(events) == batch {
			if err := f.catalog.Add(ctx, events); err != nil {
				return err
			}
			events = events[:0]
		}
	}
	if len(events) == 0 {
		return nil
	}
	return f.catalog.Add(ctx, events)
}

// Decode reads an entry's line.
func Decode(line []byte) (event.Event, error) {
	var e event.Event
	if err := json.Unmarshal(line, &e); err != nil {
		return e, fmt.Errorf("decode a ledger entry: %w", err)
	}
	return e, nil
}
