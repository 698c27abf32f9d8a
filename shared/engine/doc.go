// Package engine is the contract of a secret engine: what makes, renews and
// takes away credentials in a target.
//
// # What holds
//
// An engine serves all mounts of its type. It keeps its configuration in the
// store's entries and no state that a restart would lose.
//
// Batches: Create, Renew, Disable and Remove take leases of one target and
// return an outcome for each, in order; one lease at fault never fails its
// neighbours. Concurrent calls for one target are gathered into the target's
// lanes by the engine (B7); lanes of different targets never wait for each
// other, and Disable never waits for Create or Remove.
//
// Repeatable effects: Disable and Remove may be called again after any failure
// and by two workers at once; what is already gone is success (C7). Create is
// called once for a lease. No name is used twice.
//
// Fence: Create has no effect after the lease's CreateDeadline by the target's
// clock, and Remove of a lease that was never confirmed proves that no creation
// can still happen before it reports absence (B1).
//
// Plan: everything that renewing and revoking need is in Lease.Plan and
// Lease.Handle (A2), but secrets, which are reached through the connection
// named by Lease.Target.
//
// # What can fail
//
// Every error is an [*Error] (use [AsError]); its Kind says whose fault it is
// and decides the HTTP status, and for a revocation its fate (C8): retry, or
// park where a person is needed. "Failed" may mean "done but not answered":
// the caller goes on as if both were true.
//
// # Who calls
//
// The issuer (Handle, Plan, Create, Renew) and the revoker (Disable, Remove,
// the Sweeper, the Rotator). The suite is package enginetest.
package engine
