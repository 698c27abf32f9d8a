// Package find says where the programs of Postgres and Redis are on this
// machine, for the tests and for the demo, which start servers of their own.
//
// The ways, in order; the first that works is taken:
//
//	CURFEW_PG_BIN      a folder with initdb, postgres and pg_basebackup
//	CURFEW_REDIS_BIN   redis-server, or a folder that holds it
//	installed          PATH, then the newest of /usr/lib/postgresql/*/bin and its like
//	docker             `docker run` of the official image
//	apt                apt-get install, as root or with `sudo -n`; only where
//	                   the caller allows it (Finder.Install)
//
// Invariants:
//
//   - Only programs are looked for, never a running server: nothing here opens
//     a connection, so a database of the user's cannot be reached by mistake.
//   - A variable that is set but wrong is an error, not a reason to go on: who
//     names a version must not be tested against another one.
//   - Installing leaves no service running, and none enabled, that was not
//     there before.
//
// The package does not import "testing": the demo links it.
package find
