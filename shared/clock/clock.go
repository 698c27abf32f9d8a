// Package clock is how components tell time: injected, so that tests and a
// simulation own it.
package clock

import "time"

// Clock tells the local time and waits.
type Clock interface {
	// Now is the local time with its monotonic reading.
	Now() time.Time
	// Timer returns a channel that receives once after d, and a stop that
	// releases it.
	Timer(d time.Duration) (<-chan time.Time, func())
}

// Teller is the optional ability of a clock to tell those apart who use it: a
// simulation has to, which decides whose timer comes first.
type Teller interface {
	// For is the clock of the loop called name.
	For(name string) Clock
}

// For is c as the loop called name has it.
func For(c Clock, name string) Clock {
	if t, ok := c.(Teller); ok {
		return t.For(name)
	}
	return c
}

// Turner is the optional ability of a clock to make those wait whom others of
// their process have woken, until it is their turn: a simulation has to, which
// decides who goes on first.
type Turner interface {
	// Turn returns at the caller's turn.
	Turn()
}

// Turn waits for the turn of who was woken, where c knows turns.
func Turn(c Clock) {
	if t, ok := c.(Turner); ok {
		t.Turn()
	}
}

// System is the machine's clock.
type System struct{}

// Now implements [Clock].
func (System) Now() time.Time {
	return time.Now() //nolint:forbidigo // the one place where the machine's clock is read
}

// Timer implements [Clock].
func (System) Timer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

var _ Clock = System{}
