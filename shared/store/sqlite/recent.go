package sqlite

import (
	"maps"
	"slices"

	"github.com/curfew-project/curfew/shared/lease"
)

// recent keeps, decoded, rows that are on their way from one state to the next:
// intents and revocations, which are read again soon. Only the writer's
// transactions use it: nobody else changes rows.
type recent struct {
	rows map[lease.ID]kept
}

// mostRecent bounds them; one takes some 2 kB.
const mostRecent = 8192

// kept is a row as it is in the table. place is 0 for one that has to be read.
type kept struct {
	place int64
	lease lease.Lease
}

// passing reports whether a row in this state is looked at again soon.
func passing(s lease.State) bool { return s == lease.Intent || s == lease.Revoking }

// detached is a copy that shares no memory that could be written to.
func detached(l lease.Lease) lease.Lease {
	l.Plan, l.Handle = slices.Clone(l.Plan), slices.Clone(l.Handle)
	return l
}

// merge takes over what a transaction wrote, once it is known to be committed.
func (r *recent) merge(written map[lease.ID]kept) {
	for id, k := range written {
		if k.place == 0 {
			delete(r.rows, id)
			continue
		}
		if r.rows == nil {
			r.rows = map[lease.ID]kept{}
		}
		r.rows[id] = k
	}
	for id := range maps.Keys(r.rows) { // any of them: a map has no order
		if len(r.rows) <= mostRecent {
			return
		}
		delete(r.rows, id)
	}
}
