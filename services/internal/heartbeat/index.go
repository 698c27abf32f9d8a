package heartbeat

import (
	"time"

	"github.com/curfew-project/curfew/revoker"
	"github.com/curfew-project/curfew/shared/installation"
)

// Index is an observer of a revoker that also says in the store what becomes of
// the index, where fsck reads it.
type Index struct {
	revoker.Observer
	Tell   func(installation.Revoking)
	Strays time.Duration // between its sweeps for stray accounts
}

// Compared implements [revoker.Observer].
func (i Index) Compared(d revoker.Drift) {
	i.Observer.Compared(d)
	i.Tell(d.Revoking(i.Strays))
}
