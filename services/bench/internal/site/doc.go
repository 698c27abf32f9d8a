// Package site is what a benchmark is run against: a server that speaks the Vault
// API, and the Postgres in which it makes accounts.
//
// [Open] starts both, durable as at work (fsync on): `curfew server`, or the
// programs of the distributed form; [Given] takes ones that run elsewhere, so that
// any compatible server can be measured. What was started is ended and removed by
// Close; in what was given, Close removes what [Site.Prepare] made.
//
// What can fail: a start, with the end of the program's log in the error.
package site
