// Package server runs Postgres and Redis as child processes with data folders
// of their own, for the tests and for the demo. It does not import "testing".
//
// A server is made by New…, and then goes through Init (Postgres only), Start,
// Stop or Kill, Start again …, and Close. Port and data folder stay the same
// from New to Close, so that an outage looks to a client as it does in life.
//
// Invariants:
//
//   - Servers listen on 127.0.0.1 only, on a port that no other process using
//     this package will take, also while the server is down (see Port).
//   - Passwords are needed for every connection; no socket file is made.
//   - Postgres never runs as root: when we do, it runs as postgres or nobody.
//   - A child sees none of the caller's PG*, VAULT_* and BAO_* variables, and an
//     empty HOME.
//   - Close leaves no process and no file.
//
// What happens when something ends that should not:
//
//	caller returns without Close   the servers stop when the process ends
//	caller panics or is killed     Linux stops the children at once (parent
//	                               death signal); the data folder stays behind
//	                               (elsewhere the children stay, too)
//	^C                             the children are in process groups of their
//	                               own and go on until the caller closes them
//	the server dies by itself      Running is false; the next Start recovers
//	the port is taken by a         Start fails and shows the end of the
//	stranger                       server's own log
//
// With programs from docker each server is one container, removed when it
// stops; it also ends when its standard input closes, that is, with us.
package server
