// Package approle is the auth method of machines: who knows the id of a role
// and one of its secret ids gets a token with the role's policies.
//
//	approle          <mount>/<name>              the role
//	approle_role_id  <mount>/<hash of role id>   its ID is that of the role with that role id
//	secret_id        <mount>/<role>/<accessor>   a secret id; its ID is a keyed hash of it
//	lockout          <mount>/<hash of role id>   failed logins (package auth)
//
// What holds:
//   - a secret id is stored only as a hash, keyed from the seal and bound to the
//     incarnation of its role; finding one is one look-up by that hash, so that
//     nothing secret is compared and a thief of the store has no use for it;
//   - a use of a secret id is taken by a compare-and-swap on its entry before
//     the token is made: of any number of simultaneous logins no more succeed
//     than there are uses. If making the token fails afterwards, or its answer
//     is lost, the use is lost too;
//   - a secret id that is used up, destroyed or past its time is withdrawn and
//     not deleted: for [KeepDead] the program that still has it is told no, but
//     is not taken for one that guesses, and does not lock out its neighbours;
//   - a role, and a secret id without counted uses, are guards of the token's
//     beginning: what was deleted or destroyed meanwhile yields no token (A3);
//   - deleting a role ends its secret ids with it, and no token that was issued;
//   - a role id belongs to one role of its mount; role and index change in one
//     commit, with the event (D6);
//   - all times are of the store's clock (A5);
//   - to who does not know a secret id, unknown role id, unknown secret id and
//     one that has ended are the same answer;
//   - no secret id is in an event, an error or a log; accessors are.
//
// | fails | then |
// |---|---|
// | the store, at any step of a login | no token; a use that was taken is lost |
// | the commit that takes a use, outcome unknown | no token; the use may be lost |
// | more logins at once with one secret id than the swaps can order | 503, try again; no use is taken |
// | the commit of a new secret id, outcome unknown | no secret id is answered; it is withdrawn as far as it exists |
// | the answer with a secret id cannot be written | it is withdrawn (A8) |
// | the seal is closed | no hash can be made: an error |
//
// Who calls: package auth, for the API.
package approle
