// Package child runs programs beside us: each ends with us, in whatever way we
// end (on Linux), and in good order where it is asked to.
package child
