// Package fleet holds the tests of the distributed form under faults: the built
// programs with their servers, as package topology runs them on loopback
// addresses, driven by client libraries that nobody here wrote, while parts of
// the fleet are stopped, killed and robbed of their data. It has no code outside
// its tests, which need the build tag e2e.
//
// Every test ends with the same checker (check_test.go), which knows only what
// clients were told, what the target holds and what the record says:
//
//   - each credential that a client holds and that has not ended logs in;
//   - the accounts in the target are those of the leases that the record calls
//     active, and no others: no account without a lease, no lease without its
//     account (promise 1, B1);
//   - an active lease that no client was told of is explained by a request that
//     was not answered;
//   - the record is dense (D3), the versions of each lease are complete and
//     their order is legal (A1), and `lease.revoked` is there exactly once for
//     each lease that ended;
//   - `curfew audit verify` passes, with key and checkpoint taken over the API.
//
// # What is done to the fleet
//
//	due       one of two revokers killed while thousands of leases fall due
//	revoker   one of two frozen (SIGSTOP) until its locks and claims are another's
//	away      Redis, NATS, and both stopped, and silent; they return
//	lost      Redis flushed, or back without its data; stream or consumers
//	          deleted; the stream's leader killed
//	issuer    one of two killed, and stopped in order, under load
//	creation  all issuers killed, and frozen, while the target holds their
//	          creations up
//	auditor   the one that appends killed, frozen, stopped; both killed; a reader
//	          of the stream resumes
//	kill      all programs, everything, and random parts, again and again
//	store     Postgres killed under load
//	soak      nothing; memory, goroutines and files are watched
//
// The names are those of the subtests of TestFleet; they share one fleet.
// CURFEW_FLEET_KILLS sets the rounds of random kills (10), CURFEW_FLEET_SOAK the
// minutes of the soak (20 seconds where it is not set, which only shows that it
// works).
//
// TestFailover has fleets of its own, whose store has a synchronous standby. The
// store is killed for good and the standby promoted (A7):
//
//	synchronous             under load: nothing answered is lost, no epoch begins
//	stale                   under load, to a copy that stood still: issuing is
//	                        refused until an epoch begins, what is on record is
//	                        back, what is lost is named, each credential that a
//	                        client holds works and has a lease or is reported
//	stale without auditors  as that, but the store stays suspended, past the
//	                        expiry that the copy has for a prolonged lease, until
//	                        auditors are there; a lease that is on no record is
//	                        reported, and goes once a person has confirmed
//	stale intent            to a copy that has but the intent of a credential
//	                        whose confirmation nobody heard of: it works until it
//	                        is revoked
//
// Of the last answers before a kill neither ledger nor stream may have anything:
// in a stale copy a lease that was confirmed then can be an intent again, which is
// not rolled back while a client may hold its credential; and one that was revoked
// then can be active again, which is counted and logged, no more: nobody is left
// who could know.
//
// Times are taken from the record, by the store's clock. One decides a test only
// where the promise is a time, and then with room for a busy machine; the others
// are logged.
package fleet
