// Package fault holds the harness of `make fault`: it breaks a running
// installation in every place, and looks whether the promises hold. It has no
// code outside its tests, which need the build tag e2e. Each test adds a row to
// the table of package faults; fleet's tests are the faults of the servers beside
// Curfew.
//
// # What is done
//
//	crash points   Curfew is killed before each of its outbound calls, and after
//	               it, and has its answer lost. The points are found in the source
//	               (package instrument); one that nothing brings about fails the
//	               run, unless excuse_test.go says why nothing can.
//	random kills   any process is killed at any time, up to three at once
//	outages        Redis and NATS are away, slow, full, or lose what they hold
//	               (outage_test.go); each is shown to be in effect, and clients
//	               have to be served meanwhile, and leases to end on time
//	targets        what may be done to a target is done to a patient, a further
//	               target with a server of its own, while the leases of the first
//	               one have to end on time (down_test.go, trial_test.go)
//	overload       50,000 leases fall due at once, some of which the target refuses
//	store          Postgres restarted under load, its connections cut, without
//	               room for tables or for its log, read only, failed over to a
//	               copy with every commit and to a stale one; SQLite with a torn
//	               write and a full disk
//	clocks         processes five minutes apart, and clocks that jump
//	network        proxies between each pair of processes of the distributed form,
//	               clients and target included, delay, cut, drop and hold what
//	               passes; each says what it did, and a toxic that did nothing
//	               fails the run
//	races          clients do what does not go together at the same time, and
//	               processes are paused, and killed, in the middle of what they do
//
// Clients live their lives meanwhile (load_test.go): there are leases that begin,
// live, were renewed, end and have run out at any instant. Beside them somebody
// tells the chapters of chapters_test.go, which between them make Curfew pass
// every point: tokens with what they issued, wrapped answers, prefixes and mounts
// being taken away, revocations that wait for a person, static roles, and so on.
//
// The crash points are visited in three steps. First every chapter is told once,
// which shows which chapter brings which point about. Then each point is armed
// and its chapter is told, until somebody dies there. Points that came about only
// because of such a death, or a lost answer, are visited last, by doing that
// again.
//
// # What must hold
//
// After each handful of faults, within 30 s of the moment when the last process
// could work:
//
//   - `curfew fsck` is clean;
//   - and, without trust in anything of Curfew's but its record: the accounts in
//     the target are those of the leases that the record calls active, and no
//     others; each credential that a client holds logs in; what was promised to
//     end has ended; an active lease that no client was told of is explained by a
//     request that was not answered; the record is dense, the versions of each
//     lease are complete, their order is legal, and nothing follows its end; no
//     lease that ran out was disabled before its time (promises 1 to 6).
//
// # How it is steered
//
// The tests take a small part of all that by chance, in the one-machine form;
// CURFEW_FAULT asks for everything, CURFEW_E2E_FORM=distributed for the other
// form, CURFEW_FAULT_ROUNDS for a number of random kills, CURFEW_FAULT_POINTS for
// the crash points whose plan matches an expression ("after issuer/internal/issuing"),
// and CURFEW_FAULT_SEED for the choices of an earlier run. Which instant a kill
// meets is left to the machine. CURFEW_FAULT_OUTAGE is for how long a target is
// away ("30s"), CURFEW_FAULT_OVERLOAD how many leases fall due at once.
package fault
