// Package quota bounds what clients may use: requests in a time (sys/quotas/
// rate-limit) and leases that live (sys/quotas/lease-count), for everything, for
// a mount, or for a path below one. Of several quotas the one of the longest path
// governs a request, and no other counts it.
//
// What holds:
//   - a lease count is decided by the store in the commit of the intent, so it
//     holds over all issuers (see store.Quota); this package only keeps the
//     entries;
//   - a rate is counted by each issuer for itself and for each client address:
//     behind a load balancer of n issuers a client may have n times the rate, and
//     an issuer that restarts begins anew. It protects this process; it is no
//     accounting;
//   - what takes access away is never refused by a quota;
//   - memory is bounded: so many addresses a quota, of which those that asked
//     least recently are forgotten first, which gives them their rate anew;
//   - other issuers go by a changed rate within a second.
//
// | fails | then |
// |---|---|
// | the store, when rates are read | those known so far go on; none at a start |
// | a rate that was written by another version and cannot be read | it is left out, and logged |
package quota
