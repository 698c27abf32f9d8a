// Package auditor keeps the record: every event of the system, in order, in an
// append-only Merkle log that shows any tampering, with a catalogue to search
// it and a live stream to follow it.
//
// # What holds
//
//   - Entry n of an epoch's segment is event n (D5): the appender appends only
//     the next, drops smaller numbers, and fetches missing ones from the store,
//     which deletes only what the ledger confirmed (D4).
//   - The ledger is the truth about the past; the catalogue is derived from it
//     and is made anew when it is lost, damaged, or of another ledger.
//   - Nothing on a request's path waits for the ledger: the event is durable in
//     the store before the answer.
//   - Nothing that fails here ends the process (promise 5): every failure is
//     tried again, at most two seconds apart, and logged each time.
//
// # What can fail
//
//	stream away or deleted   events are taken from the store
//	store away               appending waits: nothing is committed meanwhile
//	store restored from a    nothing is appended or confirmed until the store
//	copy (A7)                has opened another epoch; the log says so
//	disk full, lock file     the ledger is given up and opened anew; meanwhile
//	removed                  the backlog grows, issuing is refused at its
//	                         limit, revocation goes on
//	ledger damaged           the same; verify names the place; a person puts it
//	                         right, no restart is needed
//	ledger lost              what the store has deleted by then is missing: a
//	                         person restores the directory
//	reader too slow          its stream is cut; it resumes by Last-Event-ID
//
// # Who calls
//
// A program runs one [Auditor]. The ledger has one appender at a time: New fails
// while another process has its lock; [Verify] needs none.
package auditor
