// Package issuing makes credentials: the way of a lease from intent to answer.
//
//	plan ─▶ intent ─▶ create ─▶ active ─▶ answer
//	          │         │          │         │
//	          │         └──────────┴─────────┴──▶ revoking, with the reason
//	          └─ no further: rolled back by the sweep
//
// What holds:
//   - the intent is committed before the target is touched, and an answer is
//     written only after its lease was committed as active (promise 1);
//   - what must not have been withdrawn is checked in both commits (A3);
//   - from the intent on nothing follows the client's context (A8);
//   - "failed" may mean "done": whatever becomes of a call after the intent, the
//     lease either is answered or goes to revoking; where that cannot be
//     committed either, an intent is rolled back by the sweep at its ConfirmBy,
//     and a lease that became active unseen ends at its expiry;
//   - a secret and its token end independently: the answer says how long both
//     last, and names the token where that is the nearer limit; the last use of
//     a token issues nothing, since it would be revoked at once;
//   - the request's event is in the commit that decides it: the activation, or
//     the revocation after a failure (D6);
//   - issuing is refused while events are not being taken away (D4), and on a
//     target where leases are not being taken away in time (section E).
//
// | fails | then |
// |---|---|
// | plan | the engine's error; nothing was begun |
// | intent, a guard | 403 for the token, else 400: nothing was begun |
// | intent, the store is suspended (A7) | 503: nothing was begun |
// | intent, outcome unknown | 500; an intent that is there is rolled back |
// | create, also without an answer | revoking: "creation failed: …"; the engine's error |
// | activation refused by a guard | it is revoking: 403 or 400 that names what was withdrawn |
// | activation, otherwise | revoking: "activation was not confirmed"; 500 |
// | the write of the answer | revoking: "not delivered" |
package issuing
