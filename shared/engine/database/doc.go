// Package database is the engine of database credentials: the paths of a mount
// of type "database", wire-compatible with Vault's, over PostgreSQL.
//
//	config/<name>       a connection: where, as whom, for which roles
//	roles/<name>        what an account may do, and for how long
//	roles/<name>/check  what would go wrong with it: lint and dry run
//	creds/<role>        a credential (Plan; the issuer makes its lease)
//	rotate-root/<name>  a new password for the connection's admin user
//	reset/<name>        new sessions
//	static-roles/<name> an account that people made, whose password is kept
//	static-creds/<name> its password
//	rotate-role/<name>  a new one at once
//
// # What is kept where
//
// Connections, roles and the naming keys are entries of the store. Passwords,
// the client's private key and the naming keys are sealed before they get
// there, each bound to its place. A connection is known by the id of its
// entry, which survives edits: leases bear it as their target and follow its
// credentials, and a connection that is deleted and made anew is another one.
// A lease bears everything else that its renewal and revocation need (A2).
//
// A static role is an entry with its passwords, sealed, and a second entry that
// claims the account of the system for it. It names its connection, and outlives
// it: the next one of that name which reaches the same system goes on.
//
// A role with shared_grants has a group role in the target for what its statements
// grant on objects. It is an entry of its own, known by its connection, its role
// and what it is granted, that is there before the group role and until after it.
//
// Sessions are kept in [postgres.Target]s, one for each connection in use. An
// edit replaces the target; who uses the old one finishes on it.
//
// # Invariants
//
//   - No read gives a password or key back. Credentials that a connection_url
//     spells out are taken out of it before it is stored.
//   - No error, event or log line holds a password, key or statement.
//   - A2: a deleted connection is hidden at once and forgotten, with its
//     credential, when its last lease has ended.
//   - A3: a plan names role and connection in its guard.
//   - B2: accounts bear the mark of the installation; a username_template that
//     leaves it out, or may cut it off, is refused.
//   - B3: the mark that says who sweeps a target is a role there, one for each
//     connection. A connection whose target may bear one is not forgotten
//     before it was taken away, but for a target that is away for a day.
//   - A2: what a group role is granted is never taken from it while a lease names
//     it. Other grants, another server or database are another group role.
//   - A3: a group role is withdrawn, which refuses intents that name it, before
//     the leases are read that might need it, and dropped only where none does and
//     no account is a member of it. Its connection waits for it.
//   - B3: a group role of ours without an entry, and without members, is a stray.
//     Nothing is refreshed or dropped by itself where strays are only reported.
//   - B11: at every instant of a rotation the store holds each password that
//     the target may have. One rotation at a time for an admin user of a
//     system; a user that another connection needs is refused.
//   - B11: the same for a static role, of which static-creds gives no password
//     that is known not to work: while a rotation is open it is tried first.
//     Dropping a password that the target was offered takes the target's
//     refusal of the one and only offer. One rotation for each due time (the
//     due time is looked at again under the account's lock, and the store
//     compares revisions), none of the accounts that Curfew made or works as,
//     one static role for an account of a system.
//   - C6: the system identifier is recorded by the verification or, without
//     one, at the first use, and is part of each lease's plan. A connection
//     that reaches another system answers "target moved" for older leases.
//
// # What differs from Vault on purpose
//
// A transcript test of recordings of Vault or OpenBao has to allow for these:
//
//	role not in allowed_roles            400 instead of 500, same text
//	unknown connection (creds, reset,    400 instead of 500, same text
//	  rotate-root)
//	statements that cannot be right      400 when the role is written, with the
//	  ("x", CREATE ROLL, CREATE ROLE x)  number of the statement and the reason;
//	                                     there 204, and 500 at creds
//	roles/<name>/check                   there is no such path
//	default_ttl above max_ttl            400 "lease TTL too large"; there 204
//	a role with grants for each account  200 with a warning; there 204
//	creation that makes no login         400 at creds; there a useless credential
//	the target refuses a statement       400 with number, SQLSTATE and the
//	                                     missing GRANT; there 500
//	names                                20 characters of lower-case base32 that
//	                                     lead back to the lease; there random
//	passwords                            24 characters instead of 20
//	connection_url with a password       read back with {{password}}; there as
//	                                     it was written
//	a verified config with lint          200 with warnings; there 204
//	verify_connection                    is kept by later writes; what leaves the
//	                                     way to the server alone is not verified
//	max_open_connections                 writers, 1 by default and 64 at most; ending
//	                                     access has connections of its own
//	shared_grants,                       fields of a role, shown where they are set;
//	  shared_grants_refresh              there ignored
//	rotate-root of a shared admin user   400 naming the others; there 204, and
//	                                     the others are locked out
//	username_template                    needs {{.Mark}}, and its names are proved to
//	                                     fit; no conditions, loops, variables
//	password_policy that is missing      400 at creds; there 500
//	rotation_schedule, rotation_window,  400; there accepted, the last with a
//	  a password of one's own              licence
//	static role of an account that       400; there accepted
//	  another has, or of an admin user
//	write of a static role without       keeps it; there refused
//	  username
//	config/<name> deleted while static   200 with a warning for each; there 204
//	  roles use it
//	unknown connection or role not       400 instead of 500, same text
//	  allowed (static-creds)
//	plugin_version,                      400; there accepted
//	  root_rotation_statements
//
// # Failures
//
//	store away            Internal; nothing was changed
//	seal closed           Internal; revocation waits with it
//	edit at the same time Conflict after some tries
//	target away           Unreachable: no intent is made of a request for a
//	                      credential, so that nothing has to be rolled back
//	  … and a mark to go  the deleted connection is kept, hidden; the janitor tries
//	                      again for a day, then an event names what stays
//	  … and a group role  the same, tried by the revoker
//	group role is missing  the creation fails, nothing was made: it is made again, and
//	                      then the accounts
//	process dies between  the entry leads to the group role, and a group role without
//	  entry and group     entry is swept
//	mark was replaced by  Conflict; any other error of SetMark may hide that it was
//	  another               set: read it
//	target moved          Refused until the connection points back (C6)
//	process dies during   static-creds tries current and pending; the next look of a
//	  a static rotation     revoker takes the pending one up again
//	somebody else changes Conflict from static-creds while a rotation is open, else
//	  the password          not noticed; the next rotation mends it
//	process dies during   the next login tries current and pending password; the
//	  rotate-root         next rotation carries on with the pending one
//	credential deleted    cannot happen while a lease needs it
//
// # Who calls
//
// The issuer and the revoker, through the contract of package engine; the suite
// of package enginetest runs over it, as superuser and as an admin with
// CREATEROLE only. docs/postgres.md says what the admin user needs.
package database
