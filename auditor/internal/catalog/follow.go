package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/step"
)

// Unreadable is the type of an entry that is no event of its own number: the
// ledger is damaged there, as Verify says in detail.
const Unreadable event.Type = "unreadable"

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
	log     zerolog.Logger
	wake    step.Signal

	known bool // the catalogue is of this ledger, as far as that was seen
}

// NewFollower returns the step; Follower.Notify wakes it.
func NewFollower(l Ledger, c *Catalog, log zerolog.Logger) *Follower {
	return &Follower{ledger: l, catalog: c, log: log, wake: step.NewSignal()}
}

// Name implements [step.Step].
func (f *Follower) Name() string { return "catalogue" }

// Wake implements [step.Waker].
func (f *Follower) Wake() <-chan struct{} { return f.wake }

// Notify says that the ledger has grown.
func (f *Follower) Notify() { f.wake.Set() }

// Do implements [step.Step].
func (f *Follower) Do(ctx context.Context) (time.Duration, error) {
	if err := f.run(ctx); err != nil {
		f.known = false
		return 0, err
	}
	return time.Second, nil
}

func (f *Follower) run(ctx context.Context) error {
	if err := f.recognise(ctx); err != nil {
		return err
	}
	epochs, err := f.ledger.Epochs()
	if err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	for _, epoch := range epochs {
		if err := f.follow(ctx, epoch); err != nil {
			return err
		}
	}
	return nil
}

// recognise makes the catalogue anew if it is damaged or of another ledger.
func (f *Follower) recognise(ctx context.Context) error {
	same, err := f.same(ctx)
	if err != nil {
		return err
	}
	if damaged := f.catalog.damaged.Load(); damaged || !same {
		f.log.Warn().Bool("damaged", damaged).Stringer("position", f.catalog.place.at).
			Msg("the catalogue does not belong to the ledger; making it anew")
		if err := f.catalog.rebuild(ctx); err != nil {
			return err
		}
	}
	f.known = true
	return nil
}

// same reports whether the ledger has what the catalogue took last. That is
// looked up once, and again where the ledger has become shorter.
func (f *Follower) same(ctx context.Context) (bool, error) {
	p := f.catalog.place
	size := int64(0)
	if p.at.Epoch > 0 {
		var err error
		if size, err = f.ledger.Size(p.at.Epoch); err != nil {
			return false, fmt.Errorf("read the size of segment %d: %w", p.at.Epoch, err)
		}
	}
	if f.known && p.at.Number <= size {
		return true, nil
	}
	if p.at.Number == 0 {
		return true, nil
	}
	for entry, err := range f.ledger.Entries(ctx, p.at.Epoch, p.at.Number, p.at.Number) {
		if err != nil {
			return false, fmt.Errorf("read the ledger: %w", err)
		}
		hash := sha256.Sum256(entry.Data)
		return bytes.Equal(hash[:], p.hash), nil
	}
	return false, nil
}

// follow adds what the segment has more than the catalogue.
func (f *Follower) follow(ctx context.Context, epoch int64) error {
	at := f.catalog.place.at
	if epoch < at.Epoch {
		return nil
	}
	if epoch > at.Epoch {
		at = event.Position{Epoch: epoch}
	}
	size, err := f.ledger.Size(epoch)
	if err != nil {
		return fmt.Errorf("read the size of segment %d: %w", epoch, err)
	}
	var events []event.Event
	var line []byte
	for entry, err := range f.ledger.Entries(ctx, epoch, at.Number+1, size) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		events, line = append(events, Decode(epoch, entry)), entry.Data
		if len(events) == batch {
			if err := f.catalog.add(ctx, events, line); err != nil {
				return err
			}
			events = events[:0]
		}
	}
	if len(events) == 0 {
		return nil
	}
	return f.catalog.add(ctx, events, line)
}

// Decode reads an entry. One that is not the event of its number is [Unreadable]:
// it must not hide those that follow.
func Decode(epoch int64, entry ledger.Entry) event.Event {
	p := event.Position{Epoch: epoch, Number: entry.Number}
	var e event.Event
	if err := json.Unmarshal(entry.Data, &e); err != nil || e.Position != p {
		return event.Event{Position: p, Type: Unreadable}
	}
	return e
}

var (
	_ step.Step  = (*Follower)(nil)
	_ step.Waker = (*Follower)(nil)
	_ Ledger     = (*ledger.Reader)(nil)
)
