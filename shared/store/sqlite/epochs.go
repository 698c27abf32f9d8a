package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sort"

	"github.com/curfew-project/curfew/shared/event"
)

// epoch says which events, counted over all epochs, have its numbers: those
// after base, up to the base of the next.
type epoch struct{ number, base int64 }

// epochs are all there were, in order; neither numbers nor bases go down. A
// value is never changed: what begins an epoch makes another.
type epochs []epoch

func readEpochs(ctx context.Context, db *sql.DB) (all epochs, err error) {
	rows, err := db.QueryContext(ctx, `SELECT epoch, base FROM epochs ORDER BY epoch`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var e epoch
		if err := rows.Scan(&e.number, &e.base); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	if len(all) == 0 {
		err = errors.New("the store has no epoch")
	}
	return all, errors.Join(err, rows.Err())
}

// head is the position of the last event numbered.
func (all epochs) head(seq int64) event.Position {
	e := all[len(all)-1]
	return event.Position{Epoch: e.number, Number: seq - e.base}
}

// position is that of the event seq.
func (all epochs) position(seq int64) event.Position {
	i := sort.Search(len(all), func(i int) bool { return all[i].base >= seq })
	e := all[max(0, i-1)]
	return event.Position{Epoch: e.number, Number: seq - e.base}
}

// seq is the inverse of position; a place behind the end of an epoch is that
// end.
func (all epochs) seq(p event.Position) int64 {
	end := int64(never)
	for _, e := range slices.Backward(all) {
		switch {
		case e.number < p.Epoch:
			return end
		case e.number == p.Epoch:
			return e.base + max(0, min(p.Number, end-e.base))
		}
		end = e.base
	}
	return 0
}

// begun is all with one more, which has the events after base. An earlier one
// that began behind it has none left.
func (all epochs) begun(number, base int64) epochs {
	more := slices.Clone(all)
	for i := range more {
		more[i].base = min(more[i].base, base)
	}
	return append(more, epoch{number: number, base: base})
}

// readNumbered is read for what has to do with numbers: the epochs are those of
// what is read, since none begins meanwhile.
func (s *Store) readNumbered(act string, do func(reader, epochs) error) error {
	s.epochsMu.RLock()
	defer s.epochsMu.RUnlock()
	return s.read(act, func(c reader) error { return do(c, s.epochs) })
}
