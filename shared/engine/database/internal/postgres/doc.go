// Package postgres makes and takes away accounts on a PostgreSQL server.
//
// A [Target] is one connection of a mount: a server, an admin user, and the
// lanes that work on it (B7). It keeps no state that a restart would lose: what
// it remembers (which role generations ran alone, the offset of the target's
// clock) is found out again.
//
//	         ┌ disable  ── NOLOGIN ────────┐  own session, no advisory lock
//	callers ─┤ observe  ── end sessions ───┤  own session, rounds of one query
//	         │ writers  ── create, renew ──┼─ turns: drops before creations,
//	         │             drop            │  a quarter at least for each
//	         ├ solo     ── what ran over ──┤  own session, discarded after use
//	         ├ static   ── static roles ───┤  own session
//	         ├ groups   ── group roles ────┤  own session, discarded after use
//	         └ rehearse ── a trial ────────┘  own session, rolled back, discarded after use
//
// While one batch of a lane is under way the next gathers. Each is one message:
//
//	BEGIN; SET LOCAL …; [advisory lock;]
//	{ SAVEPOINT nonce; statements of one lease; RELEASE nonce; } × leases
//	[fence;] COMMIT
//
// An error is traced to its lease by the commands that completed before it;
// the rest goes on from that savepoint (B5).
//
// # Invariants
//
//   - B3: a mark is replaced in one transaction, which takes the role that bears
//     it before it compares. Conflict means another mark, and nothing else.
//   - B1: a creation commits only while the target's clock is before the
//     deadline of every lease in its transaction. A lease that was never
//     confirmed is gone only after the target's clock passed its deadline and
//     CREATE ROLE of its name was possible.
//   - A8: what is reported as created was read back after the commit.
//   - B7: MaxOpen, MaxIdle and MaxLifetime are of the writers alone. What takes
//     access away is never behind them, nor closed by them.
//   - A rehearsal commits nothing. It stops where a statement left its
//     transaction, and its session is closed before anybody hears of it.
//   - B6: settings are made with SET LOCAL, locks are of the transaction. What
//     startup parameters set (application_name, standard_conforming_strings)
//     a transaction pooler carries over.
//   - B11: the password of an account that people made is changed only while the
//     target's clock is before the end of the attempt, so that nothing of it
//     arrives later. A verdict on a password is the server's own, after it asked
//     for the password; what a standby says decides nothing.
//   - An account with a group role is made and becomes a member of it in one
//     transaction, which takes no lock on what the group role is granted.
//   - B8: VALID UNTIL is set after a role's own statements, from the target's
//     clock, and read back.
//   - B9: a renewal reads VALID UNTIL and moves it only while it is that, behind
//     an advisory lock on the name. Only who names the one that it left itself
//     makes it earlier.
//   - C1, C2: NOLOGIN is committed before sessions are ended, sessions are
//     ended by OID before the account is dropped. Sessions that are starting
//     are waited for: they may have passed the check before NOLOGIN.
//   - C5: DROP OWNED runs in the transaction of REASSIGN OWNED, after a look
//     that nothing is owned any more, unless the plan says drop.
//   - C6: Gone is said on the strength of one query that also returns the
//     system identifier and that the server is a primary. Missing by name and
//     by OID both.
//   - A message to the server holds verifiers, never passwords, unless the plan
//     says password_authentication=password (B10). Errors hold no statement
//     text, and no DETAIL but the list of dependencies.
//
// # search_path
//
// Roles of Vault's users name tables without a schema: "GRANT SELECT ON items".
// So their statements run under the session's own default (role, database and
// server settings), as they do there, while everything of Curfew's runs under
// search_path = pg_catalog with qualified names. Both are SET LOCAL, around
// statements that cannot themselves change it: those that could run alone, and
// their session is reset before the fence and discarded afterwards (B4).
//
// # Privileges of the admin (C4)
//
//	CREATEROLE, pg_signal_backend             every role
//	the privileges that roles grant,          per-user grants
//	  WITH GRANT OPTION
//	group roles WITH ADMIN OPTION             membership, on version 16 and later
//	accounts of static roles WITH ADMIN       version 16 and later
//	  OPTION
//	membership in reassign_owned_to           where that is not the admin
//	CONNECT on each database                  in which leased users get rights
//
// [Target.Verify] names what is missing, with its GRANT. The system identifier
// is read with pg_control_system(), which every user may call unless that was
// revoked.
//
// # What is not covered
//
// Transactions that a leased user prepared for two-phase commit outlive its
// sessions; only a superuser can end them afterwards. Tables with row security,
// event triggers and hooks of the server's owner are the owner's affair.
//
// Versions 15 to 18 have been run. What differs is asked for by version: grants
// with INHERIT and SET from 16 on, how a starting backend looks from 18 on.
//
// # Failures
//
//	refused statement           that lease only: Refused with SQLSTATE, number, missing GRANT
//	parse error                 before BEGIN: the batch again, lease by lease
//	deadlock, concurrent update that lease again with jitter, then Conflict
//	a lease runs over           cancelled; again in the solo lane
//	the batch runs over         cancelled; again in halves
//	connection lost             read back on a new one; what is not seen is done once more
//	  … during COMMIT           the same: a batch is atomic, names are used once
//	28P01                       passwords read again; current, pending, promote (B11)
//	25006, 57P01                reconnect; several hosts: the one that takes writes
//	another system identifier   Refused, "target moved" (C6)
//	a standby answers           Unreachable
//	queue full                  Busy
//
// Nothing here retries for longer than one call's limit: the caller's store
// knows what is open.
//
// # Who calls
//
// Package database. Where its store's clock differs from the target's is known
// from [Target.Clock].
package postgres
