// Package e2e holds the end-to-end tests: the built programs, driven only by
// clients that nobody here wrote (the Go client libraries of Vault and OpenBao,
// hvac, node-vault, consul-template, pgx for the credentials themselves, plain
// HTTP for the recordings), against real Postgres servers of package testkit. It
// has no code outside its tests, which need the build tag e2e.
//
// What is seen here:
//
//   - recordings of a stock server answer as recorded, but for the one list of
//     intended differences (differences_test.go); an entry of that list that no
//     longer occurs fails;
//   - the way of a lease as both articles tell it, with both client libraries,
//     and the commands of both as they stand there, in a shell;
//   - programs of users in other languages, a template runner, and the watchers
//     of both libraries get in, renew until the ceiling, and hold something new;
//   - the server may be killed at any instant: within 30 s of its restart an
//     account exists if and only if a client was told of it (promise 1, B1);
//   - access ends on time and never early, whatever the client does (C1, C2);
//   - stream, index and one byte of the ledger may be lost: the record is
//     complete or its verification names the place (promises 5, 6);
//   - an older store under a newer ledger recovers by itself, wherever that is
//     killed, and takes nothing away early; an older or copied data directory
//     takes nothing away that it does not know, before a person has confirmed
//     (A7, B3);
//   - a sealed API serves and issues nothing, by any issuer, whatever restarts, and
//     what is due is still revoked on time (C10);
//   - quotas hold over all issuers, and never stand in the way of a revocation;
//   - bad input gets a 4xx in Vault's shape and changes nothing;
//   - no password and no token is in anything that the program or its target
//     writes.
//
// They run in two forms: against `curfew server`, and with
// CURFEW_E2E_FORM=distributed against the programs of the distributed form, two
// or three of each beside Postgres, NATS and Redis (package topology). What
// happens to the server there happens to the whole place: a kill is a power cut
// of all of it, the store and what it commits to included. Tests of what only one
// form has say so and are skipped in the other.
//
// A timing never decides a test, except where the promise is a time; those read
// the times that the server and the target recorded, not the test's own clock.
package e2e
