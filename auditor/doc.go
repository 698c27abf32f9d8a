// Package auditor keeps the record: every event of the system, in order, in an
// append-only Merkle log that shows any tampering, with a catalogue to search
// it, a live stream to follow it, and audit devices that write it to files.
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
//	store restored from a    found out at the start ([Auditor.Settle]) or within
//	copy (A7)                a second: the store is suspended, gets back what is
//	                         on record, and goes on in another epoch; package
//	                         recovery
//	ledger of another store  the same error at each try; the store is left alone
//	disk full, lock file     the ledger is given up and opened anew; meanwhile
//	removed                  the backlog grows, issuing is refused at its
//	                         limit, revocation goes on
//	ledger damaged           the same; verify names the place; a person puts it
//	                         right, no restart is needed
//	ledger lost              what the store has deleted by then is missing: a
//	                         person restores the directory
//	reader too slow          its stream is cut; it resumes by Last-Event-ID
//	audit device fails       nothing waits for it; it is shown, and catches up from
//	                         the ledger; package sink
//
// # Several that share a ledger
//
// Where auditors share a ledger's directory (Deps.Locks), one of them appends and
// the others stand by: they serve readers, streams included, and see what is
// appended within a quarter of a second. The one that appends writes the audit
// devices. Two locks decide (D5):
//
//	in the store      elects. Trust in it lasts ten seconds from before the
//	                  attempt that took or extended it; it is extended beside
//	                  whatever the appender does, which may take minutes (A7)
//	in the directory  flock with a fencing number that each checkpoint bears:
//	                  whoever was elected appends once it has this one too
//
//	the one that appends          another takes over
//	stops in order                at once
//	dies, or its machine does     within ten seconds and a half; a network file
//	                              system may keep a dead machine's flock longer
//	does not reach the store      the same: it stops by itself before
//	hangs in a write for 30 s     when the file system gives its flock away, or
//	                              the write returns; until then nobody appends
//	stands still (paused)         the same; when it goes on it starts no write
//
// The directory has to be on a file system whose flock and rename hold between
// the machines (NFS from version 4 on). Each auditor has a catalogue of its own.
//
// # Who calls
//
// A program runs one [Auditor]. The ledger has one appender at a time: alone, New
// fails while another process has its lock; [Verify] needs none.
package auditor
