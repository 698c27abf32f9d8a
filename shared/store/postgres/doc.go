// Package postgres is the durable store in one Postgres database, for any
// number of processes.
//
// # A commit
//
// Concurrent changes of leases and appended events share commits (package
// gather): each lane commits one batch while the next gathers (A6). A commit is
// two round trips. The first, in one message: BEGIN; lock the rows of the batch
// in the order of their ids; then, in later snapshots, the store's clock, the
// suspension and the timeline, and what the guards ask for. What becomes of
// each row is decided in Go, by store.Transition.Decide (decision 0001). The
// second: write all rows and events in one statement; count this process's
// commit; COMMIT; and behind it, in a transaction of its own, a notification.
// Every other commit goes the same way, alone.
//
// # Locks
//
// Everybody locks in this order, so nothing waits in a circle:
//
//	1 the gate      advisory, of the transaction: shared by beginnings, renewals
//	                and expiries; exclusive for Suspend
//	2 quotas        advisory, of the transaction: beginnings that a quota governs
//	3 locks         the row of one lock
//	4 head          the row; numbering and trimming, one at a time
//	5 meta          the row; configuration, one commit at a time
//	6 leases        existing rows in the order of ids, then new ones likewise
//	7 living        the rows of the own stripe in the order of paths
//	8 writers       the row of the own slot
//
// Prune skips rows that are locked. Nothing of a session is used: no session
// lock, no setting, and behind a pooler (Config.Pooled) no prepared statement.
//
// # Why it holds
//
// Withdrawals (A3). READ COMMITTED gives each statement a snapshot of its own.
// A guard is read after its rows are locked, once with the beginning and once
// with the activation, which never shares its transaction. A beginning that a
// listing missed committed after the listing's snapshot, so after the mark that
// was committed before it; the activation starts after the beginning was
// answered, so its snapshot has the mark.
//
// Quotas. How many leases live below a path is counted in the commit of each
// transition, in rows that are spread over stripes by slot, so that it costs
// other commits nothing but a place in the same round trip. A beginning that a
// quota governs takes the lock of quotas first and counts in a later snapshot:
// whoever had the lock before has committed by then. What ends meanwhile is not
// seen, so a quota errs towards refusing.
//
// Barriers (A4). The places of beginnings and barriers are one sequence without
// a cache, drawn inside the commit. A beginning answered before Raise was
// called has a lower place, one that starts after it returned a higher one. Of
// two that overlap the sequence decides: a beginning with a lower place is
// either seen by the listing or, if it commits later, stopped at its activation,
// since the barrier is committed by then.
//
// Time (A5). clock_timestamp() after the locks; never before a time that the
// row has, nor before one that this process has given.
//
// Lost answers (A6). Each process commits from a few slots. A slot has a row
// that counts its commits, in the commit, and a commit fails unless the row
// stands where the process left it. Who loses an answer locks that row on
// another connection, which waits for a commit still under way; reads whether
// it counts the commit; and moves it on, so that a commit that was not there
// can never come. This commit follows the one in question in the log, so it
// also awaits what a synchronous standby still lacked of it. The status of a
// transaction (pg_xact_status) would not do: after a crash its id can be given
// again, and a standby that lagged knows another transaction by it.
//
// Suspension (A7). With each connection, and where it costs nothing with each
// commit, the database is compared with its own record and with what this
// process was answered: system identifier, timeline, and the counts of the
// slots. Where one differs the store is suspended before anything else is
// committed on that connection. Files that were put back from a backup agree with
// themselves, and a process that has just begun remembers nothing: so where there
// is a record (Config.Recorded), each start of the server suspends the store until
// an auditor has compared the two. Nobody exchanges the files of a server that
// runs, and every commit reads when it was started. Suspend waits at the gate, so that whatever was
// begun without it is committed, and has its number, before it.
//
// Numbers (D3). Events are stored under a seq, drawn in the commit from a
// sequence that has gaps and is not in the order of commits. Number gives the
// next numbers to what it sees behind the last seq it examined, and to late
// comers: seqs that it passed over are kept as gaps, and looked at each time
// until no transaction runs that could fill them. So an event that commits late
// gets a later number, whatever its seq. A number is not written to its event:
// one row says that a run of numbers belongs to a run of seqs. An event is
// written once and deleted once; numbering a million is writing a few rows.
// Of one lease, a later version draws its seq after the commit of the earlier
// one, which locked the row, so it can neither be seen nor be numbered first.
//
// # Pitfalls of queues, and what is done about them
//
//	dead rows at the front      nothing scans from the front: numbering starts
//	                            behind what it examined, reading and trimming
//	                            behind what was trimmed
//	updates of waiting rows     there are none
//	an old snapshot somewhere   holds back vacuum; only Due, Prune and deleting
//	                            runs meet the dead, in their indexes
//	autovacuum by share         by count, on the tables that are emptied
//	hot rows                    none in the commit of leases: meta is read, a
//	                            slot's row is the process's own, counts are in
//	                            stripes; where a quota is set, beginnings below
//	                            it commit one batch after the other
//	NOTIFY in the commit        locks the whole cluster during its flush; so it
//	                            is sent behind
//	JIT                         off: it took 30 ms for a query of 1
//
// Leases are one table and not partitioned, though they could be (by hash of
// the id; nothing refers to them and no other index is unique): with eight
// partitions the benchmark below fell by two fifths, planning and seven more
// index descents for each look by token, path or due time. At a size where that
// pays, a migration moves the rows.
//
// # What can fail
//
//	fsync or full_page_writes off  ErrUnfit, at each connection
//	standby, read-only             no connection; in a commit: refused, nothing
//	                               was done
//	schema newer, older            ErrNewer; migrated, or ErrOlder
//	connection lost                before COMMIT: again; after: settled; neither
//	                               within Config.Settle: store.ErrUnknown
//	deadlock, serialization        again, with jitter
//	one item breaks its batch      the batch is halved until it fails alone
//	server restarts                as connections lost
//	failover                       suspended; see above. Nothing answered is
//	                               lost if the standby is synchronous
//	the old primary goes on        not found out: fence it
//	waiting for the standby cut    settled; it is answered when a later commit
//	short (pg_cancel_backend)      was acknowledged
//	pool exhausted, server slow    Config.Timeout for each statement
//	this process paused            the server ends its transaction
//
// # Figures
//
// Two cores shared by server, client and other work, fsync on, PostgreSQL 15,
// one run of four seconds each (BenchmarkLife, BenchmarkNumber):
//
//	lives of a lease (beginning and activation guarded, revocation)
//	  1 caller      324/s    972 transitions/s, 1.0 ms each
//	  32 callers  1,527/s  4,580 transitions/s
//	  256 callers 5,526/s 16,578 transitions/s; one lane 13,689;
//	                       for a pooler (no prepared statements) 12,301
//	numbering and reading 1,024 events of a backlog: 8.5 ms, 120,000/s
package postgres
