package storetest

import (
	"context"
	"slices"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// ChangedTokens implements [store.Changes].
func (f *Fake) ChangedTokens(ctx context.Context, after event.Position, limit int) (store.TokenChanges, error) {
	err := f.enter(ctx)
	defer f.mu.Unlock()
	if err != nil {
		return store.TokenChanges{}, err
	}
	changes := store.TokenChanges{Head: f.head, At: f.now()}
	changes.Missed = after.Epoch != f.head.Epoch || f.head.Before(after)
	if f.trimmed > 0 {
		changes.Missed = changes.Missed || after.Before(f.positions[f.trimmed-1])
	}
	n := 0
	for i := range f.events {
		at, numbered := f.positionOf(f.trimmed + int64(i) + 1)
		if numbered && !after.Before(at) || f.events[i].Data.Kind != "token" {
			continue
		}
		n++
		if id := store.ChangedToken(&f.events[i]); id != "" {
			changes.Tokens = append(changes.Tokens, id)
		}
	}
	if changes.Missed = changes.Missed || n > limit; changes.Missed {
		changes.Tokens = nil
	}
	slices.Sort(changes.Tokens)
	changes.Tokens = slices.Compact(changes.Tokens)
	return changes, nil
}
