//go:build e2e

package fault

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/curfew-project/curfew/services/internal/faults"
)

// credential is what a client was given.
type credential struct{ lease, user, password string }

// book is what clients know.
type book struct {
	mu      sync.Mutex
	held    map[string]credential // by user: works until somebody takes it away
	unclear map[string]credential // its end was asked for and not answered
	ended   map[string]credential // its end was promised, or comes by itself
	parked  map[string]credential // its end was asked for, and the target refuses it
	// unanswered are requests for a credential of which no client knows whether
	// they were served; each explains one lease that nobody holds.
	unanswered int
	// remade are accounts that were put back after their leases had ended.
	remade map[string]bool
	// early are credentials that were refused before their time, as clients saw it.
	early []string
}

func newBook() *book {
	return &book{
		held: map[string]credential{}, unclear: map[string]credential{}, ended: map[string]credential{},
		parked: map[string]credential{}, remade: map[string]bool{},
	}
}

func (b *book) note(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// holds are the credentials that must work.
func (b *book) holds() []credential {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.held))
}

// hold notes that a client has a credential.
func (b *book) hold(c credential) { b.note(func() { b.held[c.user] = c }) }

// asks notes that the end of a credential is asked for.
func (b *book) asks(c credential) {
	b.note(func() { b.unclear[c.user] = c; delete(b.held, c.user) })
}

// ends notes that the end of a credential was promised.
func (b *book) ends(c credential) {
	b.note(func() { b.ended[c.user] = c; delete(b.held, c.user); delete(b.unclear, c.user) })
}

// finding is what a check found, with what a person needs to understand it.
type finding struct {
	faults.Harm
	details []string
}

func (f *finding) add(h faults.Harm, detail string) {
	f.Add(h)
	f.details = append(f.details, detail)
}

// aged reports whether a time to live has certainly not passed since it began.
func aged(began time.Time, ttl time.Duration) bool {
	return time.Since(began) > ttl-500*time.Millisecond
}
