package storetest

import (
	"context"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// tokenDefects are of what tells which tokens changed (D7).
func tokenDefects() map[string]defect {
	edit := func(law string, do func(context.Context, *Fake, event.Position, *store.TokenChanges)) defect {
		return defect{law, func() *broken { return &broken{changed: do} }}
	}
	const every, missed = "D7 every change", "D7 what cannot be told"
	return map[string]defect{
		"tells what is numbered only": edit(every, func(ctx context.Context, f *Fake, after event.Position, c *store.TokenChanges) {
			c.Tokens = nil
			all, _ := f.Events(ctx, after, 100)
			for i := range all {
				if id := store.ChangedToken(&all[i]); id != "" {
					c.Tokens = append(c.Tokens, id)
				}
			}
		}),
		"takes a beginning for a change": edit(every, func(ctx context.Context, f *Fake, _ event.Position, c *store.TokenChanges) {
			all, _ := f.Events(ctx, event.Position{}, 100)
			for i := range all {
				if all[i].Type == event.TokenCreated {
					c.Tokens = append(c.Tokens, all[i].Data.LeaseID)
				}
			}
		}),
		"goes on behind the head": edit(every, func(_ context.Context, _ *Fake, _ event.Position, c *store.TokenChanges) { c.Head.Number++ }),
		"misses nothing":          edit(missed, func(_ context.Context, _ *Fake, _ event.Position, c *store.TokenChanges) { c.Missed = false }),
		"misses all": edit(missed, func(_ context.Context, _ *Fake, _ event.Position, c *store.TokenChanges) {
			c.Missed, c.Tokens = true, nil
		}),
		"takes epochs for one": edit("D7 an epoch", func(_ context.Context, _ *Fake, _ event.Position, c *store.TokenChanges) {
			c.Missed = false
		}),
	}
}
