// Package leases is sys/leases: looking up, listing, renewing and revoking
// what was issued.
//
// What holds:
//   - a renewal that extends moves the target's expiry first and the store's
//     second; one that shortens the other way round; who loses the
//     compare-and-swap puts back what it found in the target; an earlier time is
//     set there only where nobody has renewed since (B9); renewals of one
//     lease through one process go one after the other;
//   - a secret and its token end independently: look-ups and renewals say when
//     the first of both does, and name the limit (role, mount, system, token)
//     that keeps it from being later;
//   - a revocation is committed before anything is answered, and goes on
//     whatever the client does; a synchronous one only waits for it (C9), for a
//     word of [Ends] or, where commits are not heard of, by looking;
//   - revoking what has ended is success;
//   - revoke-prefix takes what was begun before its barrier and nothing later,
//     and can be read under its operation's id until it is finished (A4);
//     a sweep of the revoker goes on with one whose issuer died;
//   - a preview counts exactly the leases that revoke-prefix would take, in
//     bounded memory, and takes none;
//   - an operation counts the leases that had not ended when it began: done,
//     failed, open, abandoned. What ended by itself while they were listed may
//     be left out. It can be read for a while after its end (the revoker's
//     KeepBarrier);
//   - revoke-force gives a revocation its chance first, and then abandons what
//     is left, with the actor and the reason; tokens are never abandoned: they
//     have no target to fail, and their children depend on them.
//
// | fails | then |
// |---|---|
// | the store is suspended (A7) | 503 for a renewal, and the target is not touched; revocations go on |
// | the target, at an extension | nothing was changed in the store; its later expiry there is only the last fence (B8) |
// | the target, at a shortening | the store's earlier expiry counts; logged |
// | the target, at the second word about an extension that follows another closely | the request fails; the lease is extended, and the credential may end with the earlier time until it is renewed again |
// | the issuer, between telling the target an earlier time and looking whether the store has a later one | the same, where another extended the lease in between |
// | the commit of a revocation | the request fails; nothing was promised |
// | an attempt, while a client waits | 400 with its reason; the pipeline tries again |
// | the issuer, while it lists a prefix | the barrier stays unlisted; the revoker's sweep takes it up |
// | the commit of how many were abandoned | the request fails; operations count them as done, the record as abandoned |
package leases
