// Package story is the walk of the demo: two credentials from the request to
// the proof that they are gone, told in plain sentences between the commands
// that are run and what these answer.
//
// # What holds
//
//   - Each step checks what it tells, in the target itself where the target is
//     the witness, and the first step that does not hold ends the walk with an
//     error that names it. Nothing is printed that was not seen.
//   - No password and no token is printed.
//   - A wait ends: with what it waits for, or with an error after a time that
//     only a hang takes.
package story
