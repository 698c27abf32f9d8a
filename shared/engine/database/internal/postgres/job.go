package postgres

import (
	"time"

	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Bounds of a batch (B5).
const (
	maxUnits = 128
	maxBytes = 256 << 10
)

// tries is how often a lease's statements are sent before the answer is that
// the target is busy with something else.
const tries = 5

// job is one lease on its way through the work lane.
type job struct {
	lease *lease.Lease
	name  string // in the target: the lease's account, if nobody renamed it
	plan  *compiled
	kind  sqltext.Kind // whose script runs; 0: none
	at    time.Time    // when it was asked for
	ttl   time.Duration
	until time.Time // what VALID UNTIL was set to; zero: never
	was   time.Time // VALID UNTIL before; of renewals
	only  *swap     // the one expiry that may be moved; nil: any, to a later one

	password, verifier secret.Value

	state    jobState
	err      error
	attempts int
	unsure   bool // an earlier transaction may have done it
	overran  bool // its statements took longer than a call may
	solitary bool // runs in a transaction of its own from now on
	share    int  // the largest batch it may be in; 0: no bound of its own
	seen     role // read back
	system   Identity
	set      time.Time // local time at which until was worked out
}

type jobState int

const (
	open    jobState = iota
	sent             // committed, or perhaps: the connection was lost
	settled          // done, or failed with err
	slow             // goes on in the solo lane
)

func (j *job) fail(err error) { j.state, j.err = settled, err }

// later leaves the job open for another turn, unless it had enough of them.
// What waited for a lock all that time may wait longer in the solo lane.
func (j *job) later(err error) {
	j.attempts++
	switch {
	case j.attempts < tries:
		j.state = open
	case hasCode(err, codeLockTimeout):
		j.state = slow
	default:
		j.fail(err)
	}
}

func (j *job) script() sqltext.Script {
	if j.kind == 0 {
		return sqltext.Script{}
	}
	s, _ := j.plan.script(j.kind) // refused ones were sorted out before
	return s
}

// trial is nil where the job runs no statements but Curfew's own.
func (j *job) trial() *trial {
	if j.script().Len() == 0 {
		return nil
	}
	return &j.plan.trials[index(j.kind)]
}

// single reports whether the job must have a transaction of its own.
func (j *job) single() bool {
	t := j.trial()
	return j.solitary || !j.script().Batchable() || (t != nil && t.get() != proven)
}

// size estimates the bytes that the job adds to a message.
func (j *job) size() int {
	n := 256
	for _, s := range j.script().Statements() {
		n += len(s.Source()) + 128
	}
	return n
}

// cut puts open jobs into batches. Of statements that never ran, the first goes
// alone; the others wait for how it fares (B5).
func cut(jobs []*job) [][]*job {
	var chunks [][]*job
	var shared []*job
	first := map[*trial]bool{}
	size, bound := 0, maxUnits
	flush := func() {
		if len(shared) > 0 {
			chunks = append(chunks, shared)
		}
		shared, size, bound = nil, 0, maxUnits
	}
	for _, j := range jobs {
		if j.state != open {
			continue
		}
		t := j.trial()
		if t != nil && !j.solitary && j.script().Batchable() && t.get() == untried {
			if first[t] {
				continue
			}
			first[t] = true
		}
		if j.single() {
			chunks = append(chunks, []*job{j})
			continue
		}
		limit := bound
		if j.share > 0 {
			limit = min(limit, j.share)
		}
		if len(shared) >= limit || size+j.size() > maxBytes {
			flush()
			limit = maxUnits
			if j.share > 0 {
				limit = j.share
			}
		}
		shared, size, bound = append(shared, j), size+j.size(), limit
	}
	flush()
	return chunks
}
