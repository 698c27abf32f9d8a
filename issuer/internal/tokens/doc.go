// Package tokens makes, finds, prolongs and ends tokens.
//
// A token is a lease of kind token. Its text is never stored: the lease's id
// ends in a keyed hash of it, so that finding a token is one look-up by key and
// what the store holds is of no use to a thief of the store. The key is derived
// from the seal.
//
//	auth/token/create/h<hash>   a token that expires
//	sys/token/root/h<hash>      one that never does
//
// The two are apart because stock servers give tokens without expiry no lease:
// they are in no list of leases, and no `revoke-prefix auth/` ends the root
// token of an installation.
//
// What holds:
//   - a token is valid while its lease is active and not expired by the store's
//     clock; each request reads it from the store;
//   - a token cannot outlive its parent: the parent is a guard of the
//     beginning (A3), and a parent's end takes its children with it (the
//     revoker cascades along Lease.TokenID);
//   - ending a token is committing `revoking` on its lease: that is the mark
//     which everything that names the token as a guard sees;
//   - its lease has neither engine nor target: there is nothing to undo outside
//     the store;
//   - the text of a token is in no event and no log; its accessor is.
//
// | fails | then |
// |---|---|
// | the store, at a look-up | the request fails; no token is taken for granted |
// | the seal is closed | no hash can be made: 503 |
// | the commit of a creation, outcome unknown | no text is answered; the token is revoked as far as it exists |
package tokens
