// Package tokens makes, finds, prolongs and ends tokens.
//
// A token is a lease of kind token. Its text is never stored: the lease's id
// ends in a keyed hash of it, so that finding a token is one look-up by key and
// what the store holds is of no use to a thief of the store. The key is derived
// from the seal.
//
//	auth/token/create/h<hash>   a token that expires
//	sys/token/root/h<hash>      one that never does
//	auth/approle/login/h<hash>  one of a login, below the path that made it
//
// Those without expiry are apart because stock servers give them no lease: they
// are in no list of leases, and no `revoke-prefix auth/` ends the root token of
// an installation. Those of a login are apart so that `revoke-prefix
// auth/approle/` ends them. Their text, longer than the others', does not tell
// the path: they are found by their accessor, which follows from the hash.
//
// What holds:
//   - a token is valid while its lease is active and not expired by the store's
//     clock; a request reads it from the store, or goes by what was read before,
//     which a change is in after a second at the latest (D7, package tokencache).
//     What shows, prolongs or uses a token, and every guard, reads the store;
//   - what a token hangs on (its parent; role and mount of a login) is checked in
//     the commit of its beginning and once more before its text is answered
//     (A3): what was withdrawn in between, and listed without it, takes it back;
//   - a token cannot outlive its parent: a parent's end takes its children with it (the
//     revoker cascades along Lease.TokenID). Ended by revoke-orphan it leaves
//     them: the mark that ends it says so itself (Revocation.KeepTokens), so that
//     no child falls between a listing and the end. After a restore (A7) that
//     note may be lost, and the children with it: the more revoked state wins;
//   - a token of limited uses serves at most as many requests as it was granted:
//     each use is a transition that is committed before the request is looked
//     at (A1), also of one that is refused then. The last use is the one that
//     puts the token into revoking: its request is served, everything that the
//     token had issued goes. Stock servers end it after the request; here
//     nothing can come between;
//   - the last use issues nothing, since it would be revoked at once: stock
//     servers make the credential, revoke it and say so; here it is refused
//     before. A token of limited uses makes no tokens at all, which would have
//     no limit;
//   - a token bound to networks is refused elsewhere, before a use is taken, and
//     its children are bound as it is;
//   - a child has its parent's policies or some of them; sudo on the path (the
//     check of permissions sets it) lifts that, but for root;
//   - ending a token is committing `revoking` on its lease: that is the mark
//     which everything that names the token as a guard sees;
//   - its lease has neither engine nor target: there is nothing to undo outside
//     the store;
//   - the text of a token is in no event and no log; its accessor is.
//
// Refused, never ignored: batch tokens, chosen texts (id), entity aliases.
//
// | fails | then |
// |---|---|
// | the store, at a look-up | the request fails; no token is taken for granted |
// | the commit of a use, outcome unknown | the request fails; the use may be lost |
// | the seal is closed | no hash can be made: 503 |
// | the commit of a creation, outcome unknown | no text is answered; the token is revoked as far as it exists |
// | the second check of a guard | no text is answered; the token is revoked |
// | a guard, at either check | 403, which wraps store.ErrWithdrawn |
// | the write of the answer | the token is revoked: "not delivered" (A8) |
package tokens
