package catalog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
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

// errReplaced: the ledger has not what the catalogue took from it.
var errReplaced = errors.New("the ledger was replaced")

// Follower is the step that brings the catalogue up to the ledger.
type Follower struct {
	ledger  Ledger
	catalog *Catalog
	log     zerolog.Logger
	wake    step.Signal

	known bool // the catalogue's last entry was compared with the ledger's
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
	err := errReplaced
	if !f.catalog.damaged.Load() {
		err = f.advance(ctx)
	}
	if errors.Is(err, errReplaced) {
		f.log.Warn().Stringer("position", f.catalog.place.at).
			Msg("the catalogue is damaged or not of this ledger; making it anew")
		if err := f.catalog.rebuild(ctx); err != nil {
			return err
		}
		err = f.advance(ctx)
	}
	return err
}

// advance adds what the ledger has more than the catalogue.
func (f *Follower) advance(ctx context.Context) error {
	epochs, err := f.ledger.Epochs()
	if err != nil {
		return fmt.Errorf("list segments: %w", err)
	}
	from := f.catalog.place.at.Epoch
	if from > 0 && !slices.Contains(epochs, from) {
		return errReplaced
	}
	for _, epoch := range epochs {
		if epoch >= from {
			if err := f.follow(ctx, epoch); err != nil {
				return err
			}
		}
	}
	f.known = true
	return nil
}

// follow adds a segment's entries, after making sure that it has the one which
// the catalogue took last.
func (f *Follower) follow(ctx context.Context, epoch int64) error {
	at := f.catalog.place.at
	if epoch != at.Epoch {
		at = event.Position{Epoch: epoch}
	}
	size, err := f.ledger.Size(epoch)
	if err != nil {
		return fmt.Errorf("read the size of segment %d: %w", epoch, err)
	}
	switch {
	case size < at.Number:
		return errReplaced
	case size == at.Number && f.known:
		return nil
	}
	var events []event.Event
	var line []byte
	for entry, err := range f.ledger.Entries(ctx, epoch, max(1, at.Number), size) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if entry.Number == at.Number {
			if hash := sha256.Sum256(entry.Data); !bytes.Equal(hash[:], f.catalog.place.hash) {
				return errReplaced
			}
			continue
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
