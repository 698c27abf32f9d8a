package step

import "time"

// Paced is the optional ability of a step for which nobody waits: after a run it
// is left alone for a while although it is woken, so that what comes meanwhile is
// done together.
type Paced interface {
	// Pause is how long; it is asked after each run without an error. Waking
	// counts from then on, and its rest goes on.
	Pause() time.Duration
}

// Pace says how long a step pauses that is to take a part of the time only: it
// costs others the less the more they have to do, and nobody where it is idle.
// The zero value does not pause.
type Pace struct {
	Factor int           // pause for so many times as long as was worked
	Most   time.Duration // but no longer

	worked time.Duration
}

// Worked notes how long the last run worked; waiting is no work.
func (p *Pace) Worked(d time.Duration) { p.worked = d }

// Pause is what [Paced] asks for.
func (p *Pace) Pause() time.Duration {
	return min(time.Duration(p.Factor)*max(p.worked, 0), p.Most)
}
