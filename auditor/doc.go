// Package auditor keeps the record: every event of the system, in order, in an
// append-only Merkle log that shows any tampering, with a catalogue to search
// it and a live stream to follow it.
//
// # What holds
//
//   - Entry n of an epoch's segment is event n (D5): the appender appends only
//     the next, drops smaller numbers, and fetches what is missing from the
//     store, which deletes only what the ledger confirmed (D4).
//   - The ledger is the truth about the past; the catalogue is derived from it
//     and is rebuilt when it is lost or was made by another version.
//   - Nothing on a request's path waits for the ledger: the event is durable in
//     the store before the answer.
//
// # What can fail
//
//	stream away or deleted   events are taken from the store
//	store away               events are taken from the stream; confirming waits
//	ledger damaged           appending stops, the backlog grows, issuing is
//	                         refused at its limit; verify names the place
//	disk full                the same; revocation goes on
//	reader too slow          its stream is cut; it resumes by Last-Event-ID
//
// # Who calls
//
// A program runs one [Auditor]; several may run on one ledger directory, of
// which the one that holds its lock appends.
package auditor
