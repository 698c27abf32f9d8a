// Package program is what the programs of the distributed form have in common:
// flags, configuration, what they connect to, health and metrics, and an end in
// good order. A program is this and a role.
//
// # Start
//
//	store ─▶ stream ─▶ installation (initialised? key file?) ─▶ role
//
// The monitor answers from the first moment on and says what is waited for. A
// store that is away is waited for; the stream and the index may be away for as
// long as they like (promise 6); a key file that does not belong to the
// installation ends the program.
//
// # Stop
//
// At SIGTERM or SIGINT: parts stop in reverse, each within a bound, all within
// [lifecycle.Within]. A second signal ends the program at once, which is safe.
//
// # What can fail
//
//	a part ends with an error   the others are stopped in order, exit 1
//	the configuration is wrong  exit 1, with every fault named
package program
