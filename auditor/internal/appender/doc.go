// Package appender moves events into the ledger.
//
// # What holds
//
//   - Entry n of an epoch's segment is event n (D5): only the next number is
//     appended, smaller ones are dropped, missing ones are asked of the store.
//     "Next" is read from the ledger's own last entry, at start and after every
//     failure, because what failed may have been done.
//   - A segment ends only where the store says so: the first event of another
//     epoch is never taken from the stream, which may have lost the tail of the
//     one before.
//   - What is confirmed to the store is durable in the ledger, and is what the
//     store has under that number: the two are compared before the store may
//     delete its copy (D4).
//   - A store that has less than the ledger, or something else under the
//     ledger's last number, was restored from a copy (A7). Its events would all
//     look like old ones. Nothing is appended and nothing confirmed; the error
//     is [ErrRewound] until the store has opened another epoch.
//
// Comparing one event is enough: two histories that part somewhere differ in
// every event after that place, so they agree on all before an event that they
// have in common.
//
// # What can fail
//
//	stream away, deleted, or with      events are read from the store, at the pace
//	a gap                              of Config.Wait
//	lost tail of the stream            seen by the announced head, and by the
//	                                   store's head each four waits; read from
//	                                   the store
//	stream has another event under a   logged, dropped; the store decides
//	number that the ledger has
//	store away                         appending waits: nothing new is committed
//	                                   anywhere, and what was may be gone (A7)
//	neither has the next event         ErrMissing, at each try; a person restores
//	                                   the ledger's directory
//	append fails                       what it made durable counts, the rest is
//	                                   offered again; the ledger's owner opens it
//	                                   anew where it has to be
//	an event is too large for an       its long texts are cut, and say so
//	entry
//
// No failure is fatal to the process: revoking never waits for the audit
// (promise 5). While appending stops the backlog in the store grows, and at its
// limit issuing is refused (D4).
package appender
