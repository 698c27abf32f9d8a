package sqlite

import (
	"context"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// selectChanged is one statement, so one snapshot. It reads beyond the head:
// events are stored in the order of their commits. There is one row at least.
const selectChanged = `SELECT m.head, m.first, coalesce(e.body, '') FROM meta m
	LEFT JOIN events e INDEXED BY events_token ON e.seq > ?1 AND instr(e.body, '` + store.OfToken + `') > 0
	WHERE m.one = 1 ORDER BY e.seq LIMIT ?2`

// ChangedTokens implements [store.Changes].
func (s *Store) ChangedTokens(ctx context.Context, after event.Position, limit int) (changes store.TokenChanges, err error) {
	err = s.readNumbered("read which tokens changed", func(c reader, all epochs) error {
		changes = store.TokenChanges{At: s.clock.now()}
		var head, first int64
		bodies, err := collect(ctx, c, func(row scanner) (body string, err error) {
			return body, row.Scan(&head, &first, &body)
		}, selectChanged, all.seq(after), max(0, limit)+1)
		if err != nil {
			return err
		}
		if bodies[0] == "" {
			bodies = nil
		}
		changes.Head = all.head(head)
		changes.Missed = after.Epoch != changes.Head.Epoch || changes.Head.Before(after) || all.seq(after) < first-1
		return changes.ChangedIn(bodies, limit)
	})
	return changes, err
}
