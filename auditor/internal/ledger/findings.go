package ledger

import "fmt"

// maxFindings bounds a report; a ledger full of zeros needs no longer one.
const maxFindings = 1000

type findings struct {
	damages []Damage
	omitted int
}

func (f *findings) add(d ...Damage) {
	room := min(len(d), maxFindings-len(f.damages))
	f.damages = append(f.damages, d[:room]...)
	f.omitted += len(d) - room
}

func (f *findings) addf(d Damage, format string, args ...any) {
	d.Reason = fmt.Sprintf(format, args...)
	f.add(d)
}
