// Package sim runs the whole of Curfew in one process, from one seed: issuers,
// publishers, revokers with their indexers, workers and sweeps, and auditors, two
// of each, as they are, on the implementations of their contracts in memory. It
// has no code outside its tests.
//
// # How
//
// All goroutines of a run are in one bubble of testing/synctest, whose clock
// stands still while anything moves. Each of them stops at every call that leaves
// its process (store, target, stream, index, ledger, the answer to a client) and
// at every timer, and goes on when the scheduler picks it: one at a time, and the
// seed alone says which. Keys and ids come from the seed, too, and all goroutines
// share one processor. The runtime still starts goroutines in an order of its own
// (at random under the race detector): those that share something in their process
// before they first stop, as two requests to renew one lease do, are begun in steps
// of their own, and so is what a loop does that others have woken. So a seed replays exactly, which a test asserts by the hash of all
// that happened.
//
//	make sim SEEDS=10000   that many seeds; BASE=n begins with seed n
//	make sim SEED=17       one, with all that happens in it
//
// The seed also chooses how likely which fault is, and most faults do not occur
// in most seeds. Calls are slow, are not done, are done and not answered, are done
// after their caller has given up or died; processes die at a call and at any
// time, stand still, and have clocks minutes apart; store, stream, index, ledger
// and targets are away; the store's clock jumps; events come twice and in
// disorder; the stream is deleted or loses its tail; the index is emptied; targets
// refuse, and come back with accounts that were gone (C6). Clients issue, renew,
// revoke, revoke prefixes, make and revoke tokens and what hangs on them, wrap,
// unwrap and rewrap, take away roles and mounts, and break connections.
//
// # What holds
//
// The invariants of checks_test.go hold after every step, and after the faults
// have stopped every lease ends, every account goes, and that is on record. Each
// invariant is seen to catch a rule that is broken on purpose (TestDefects).
//
// # What is not simulated
//
//   - A store that has lost commits (A7): services/e2e/fleet has that on real
//     servers.
//   - A store whose clock goes back.
//   - Group commit and connections: packages sqlite, postgres and engine/database
//     have tests of their own.
//
// What it needs of the product: nobody holds a mutex while a call is under way,
// and what goes over several things does so in an order.
package sim
