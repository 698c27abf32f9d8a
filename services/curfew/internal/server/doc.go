// Package server runs every role of Curfew in one process: the SQLite store, the
// stream inside the process, the index in memory, the issuer, the revoker, the
// auditor and the publisher. It is wiring; what holds is said by the roles.
//
// # Start
//
//	store ─▶ seal ─▶ HTTP API
//	            └─ initialised? ─▶ stream ─▶ auditor ─▶ recovered? ─▶ home ─▶ publisher ─▶ revoker
//
// Until the installation is initialised and the process has its key, the API offers
// sys/init and sys/unseal and nothing else. One that people have sealed starts as
// any other, since revocation goes on; its API stays sealed (C10). Where it is, nothing is served, numbered or revoked before the auditor
// has compared the store with its record, and brought it up to that where it was
// restored from an older copy (A7). A store that lives elsewhere than when it ran
// last may be a copy: then stray sweeps only report until a person has confirmed
// (B3).
//
// With auto_init the first start initialises itself: it makes the key file, writes
// the root token to <data_dir>/root-token and commits the installation last, so
// that a crash in between is repeated, not half done. A key file that does not
// belong to the store, or is missing while the store is initialised, ends the
// start: nothing is made anew over it.
//
// # Stop
//
// In reverse, within a bound for each part: no new requests; in dev mode all
// leases are revoked; flights land; the record is confirmed; files are closed.
//
// # What can fail
//
//	a component ends with an error   the others are stopped in order, exit 1
//	the disk refuses a commit        the store is not trusted any more: exit 1
//	kill -9                          the next start goes on; see protocol A, B
package server
