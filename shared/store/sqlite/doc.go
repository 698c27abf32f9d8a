// Package sqlite is the durable store in one directory, for the embedded
// server and a single machine.
//
// # Shape
//
// One connection writes, a few read. All writes of concurrent callers go
// through one queue (package gather): while one transaction is under way the
// next gathers (A6). Each is BEGIN IMMEDIATE in WAL mode with synchronous=FULL,
// so that what was answered survives a crash of the machine. A read sees every
// commit that was answered before it began (A3).
//
// The row meta is read first and written last in each transaction: the store's
// time, the serial of the commit, and the counters that give leases, barriers
// and events their places. What is rolled back gives its numbers back, so
// events are dense in the order of commits; giving them numbers is moving the
// head (D3).
//
// A number is an event's place counted from the base of its epoch: to begin an
// epoch, and to number again what follows a position, is to write one base (A7).
// The epochs are also held in memory; a commit that begins one shuts out who
// reads numbers until they are known. The suspension stands in the row meta, so
// that it costs the other commits nothing.
//
// # What holds
//
//   - The store's time never goes back, over restarts too; it does not stand
//     still while the machine's clock is behind (A5).
//   - How many leases live below a path is kept in its commit, so that a quota
//     is decided without counting them.
//   - No statement on leases walks the table: each names its index, and SQLite
//     refuses it if the index does not serve.
//   - What ended stands in the indexes of ids, accounts and ends only, so that
//     nobody who looks for what has not walks over years of it.
//   - Rows that are on their way (intents, revocations) are kept decoded, as the
//     last commit left them; nothing is kept of a commit that did not happen.
//   - The files are for their owner only; what is secret in them was sealed
//     before it came here.
//   - Migrations are numbered, go forward only, each in one commit.
//
// # What can fail
//
//	another process has the directory      Open: ErrLocked (flock; gone with its process)
//	a newer program wrote it               Open: ErrNewer
//	disk full                              what still fits is done, the rest refused
//	file held by another program           the batch is refused, nothing was done
//	one item breaks its batch              the batch is halved until it fails alone
//	COMMIT fails, or its answer is lost    read back by the serial of the commit
//	I/O error, damaged file                poisoned: every call fails with
//	                                       step.ErrFatal, those under way also
//	                                       with store.ErrUnknown; never tried
//	                                       again (A6)
//	kill -9, power cut                     SQLite recovers from the log at Open
//
// Checkpoints are made here and not by SQLite, which hides a failed fsync of
// the database file.
package sqlite
