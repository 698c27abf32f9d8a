package postgres

import (
	"context"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// ofToken is the condition of the index events_token.
const ofToken = `strpos(body, '` + store.OfToken + `') > 0`

// selectChanged is one statement, so one snapshot: what has no number yet (see
// number.go), and what has one after the position $1, $2, in at most $4 runs, as
// far as it is about tokens.
const selectChanged = `WITH r AS MATERIALIZED (
		SELECT r.seq + greatest(0, a.number + 1 - r.first) AS seq, r.seq + r.length AS behind
		FROM (SELECT $1::bigint AS epoch, $2::bigint AS number) a,
		LATERAL (SELECT * FROM {s}.runs
			WHERE (epoch, first) >= (a.epoch, ` + startingRun + `)
			ORDER BY epoch, first LIMIT $4) r
		WHERE r.first + r.length - 1 > a.number
	) SELECT h.epoch, h.number, h.trimmed_epoch, h.trimmed_number, clock_timestamp(), (SELECT count(*) FROM r), ARRAY(
		SELECT body FROM (
			(SELECT body FROM {s}.events WHERE seq > h.examined AND ` + ofToken + ` ORDER BY seq LIMIT $3)
			UNION ALL
			(SELECT e.body FROM unnest(h.gap_from, h.gap_to) g (a, b), LATERAL (
				SELECT body FROM {s}.events WHERE seq BETWEEN g.a AND g.b AND ` + ofToken + ` ORDER BY seq LIMIT $3) e LIMIT $3)
			UNION ALL
			(SELECT e.body FROM r, LATERAL (
				SELECT body FROM {s}.events WHERE seq >= r.seq AND seq < r.behind AND ` + ofToken + ` ORDER BY seq LIMIT $3) e LIMIT $3)
		) changed LIMIT $3)
	FROM {s}.head h`

// mostRuns is how many runs are looked at. There is one a commit at most.
const mostRuns = 10_000

// ChangedTokens implements [store.Changes].
func (s *Store) ChangedTokens(ctx context.Context, after event.Position, limit int) (changes store.TokenChanges, err error) {
	err = s.read(ctx, "read which tokens changed", func(ctx context.Context, r reader) error {
		var trimmed event.Position
		var db time.Time
		var runs int
		var bodies []string
		changes = store.TokenChanges{}
		err := r.row(ctx, s.schema.in(selectChanged), after.Epoch, after.Number, max(0, limit)+1, mostRuns).
			Scan(&changes.Head.Epoch, &changes.Head.Number, &trimmed.Epoch, &trimmed.Number, &db, &runs, &bodies)
		if err != nil {
			return err
		}
		changes.At = s.clock.at(db)
		changes.Missed = after.Epoch != changes.Head.Epoch || changes.Head.Before(after) || after.Before(trimmed) || runs == mostRuns
		return changes.ChangedIn(bodies, limit)
	})
	return changes, err
}
