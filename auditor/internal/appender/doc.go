// Package appender moves events into the ledger.
//
// # What holds
//
//   - Entry n of an epoch's segment is event n (D5): only the next number is
//     appended, and "next" is read from the ledger's own last entry, at start
//     and after every failure, because what failed may have been done.
//
//   - The stream says that there is something; the store says what. So nobody
//     who can publish to the broker can put anything on record, a gap, a
//     duplicate or a lost tail of the stream means nothing, and a segment ends
//     only where the store says so. A range of the store read in batches costs
//     less than decoding the same events from the stream.
//
//   - What is confirmed to the store is durable in the ledger, and is what the
//     store has under that number: the two are compared before the store may
//     delete its copy (D4).
//
//   - Each read of the store begins with the event that the ledger has last. A
//     store that has less than the ledger, or something else under that number,
//     was restored from a copy (A7), and its events would look like old ones:
//     nothing is appended and nothing confirmed until it was recovered, which
//     is done at once, and goes on in another epoch.
//
//   - A store whose server was started is told once it was compared: until then
//     it is suspended (A7, store.Suspension.Started). It was not only compared
//     with the ledger: both may be copies of one moment, and the stream is asked
//     whether its last event is beyond them. So who can publish to the broker can
//     make a start recover a store that has lost nothing.
//
// Comparing one event is enough: two histories that part somewhere differ in
// every event after that place, so they agree on all before an event that they
// have in common. The store has that event as long as it is not confirmed, and a
// copy has never confirmed what it does not have.
//
// # What can fail
//
//	stream away, deleted,      the store is read at the pace of Config.Wait, or
//	or not ours                as soon as the stream says anything
//	lost tail of the stream    seen by the announced head, and by the store's
//	                           head each four waits (D4)
//	store away                 appending waits: nothing new is committed
//	                           anywhere
//	store has not what the     ErrRewound: it is suspended and recovered, package
//	ledger has, or is          recovery; what keeps it from that is the error of
//	suspended                  each try
//	store has not the next     ErrMissing, at each try; a person restores the
//	event any more             ledger's directory
//	append fails               what it made durable counts, the rest is offered
//	                           again; the ledger's owner opens it anew where it
//	                           has to be
//	an event is too large for  its long texts are cut, and say so
//	an entry
//
// No failure is fatal to the process: revoking never waits for the audit
// (promise 5). While appending stops the backlog in the store grows, and at its
// limit issuing is refused (D4).
package appender
