// Package tokencache keeps what was read of tokens, so that not every request
// asks the store who bears it (D7).
//
// # What holds
//
// The law: a change of a token (its end, another term) whose commit returned at
// the time t is in the answer of every look-up that begins at t + [GoodFor] or
// later, in every process; a second. In the process that made the commit it is
// in every look-up from before the commit is reported on. In practice other
// processes have it some milliseconds later.
//
// It holds because:
//
//   - [Follower] asks the store, four times a second and when it is told of a
//     commit, which tokens have changed since it asked last. One snapshot of the
//     store answers, so that all commits are in it which returned before the
//     question ([store.Changes]); numbers do not matter, nor does the order in
//     which they are given;
//   - an answer counts from before it was asked for, by the local clock, and only
//     once all that it names is forgotten here: an answer that is late is worth
//     less, never more. Where the wall clock and the monotonic one disagree (a
//     machine that slept, a clock that was set) the longer time counts;
//   - nothing that is kept is used when the last such answer is a second old;
//     each request then reads the store, and begins to trust again with the next
//     answer;
//   - what was read is kept only if no change of that token was heard of since
//     before it was read ([Ticket]);
//   - an answer that cannot name all changes (deleted already, another epoch,
//     A7; too many) is one that everything changed.
//
// NATS has no part in it: it may be away, late, divided or emptied. So have the
// clocks of other machines. What the law rests on is the store's snapshot, and
// that this process and its clock go on at the same pace.
//
// Child tokens: the law counts from the commit of the child's own end, which
// follows that of its parent. Who revokes a token over the API gets the answer
// when those of its descendants are committed, too.
//
// Nothing is refused from here: what is not kept, or may have expired by now, is
// asked of the store, and its answer stands. The store's time is taken to be the
// latest that it can be (A5). A token of limited uses is not kept, nor is that
// there is none. The checks of A3 never come here.
//
// What is kept goes by the end of a token's id, which is the keyed hash of its
// text; no text is here. Of at most Config.Max tokens, those that were asked for
// least recently are forgotten first.
//
// # What can fail
//
//	| fails | then |
//	|---|---|
//	| the store | within a second each request asks it, and fails with it |
//	| the hints of commits | a change of another process is heard of within 250 ms |
//	| the process stands still | it hears of what it missed before it trusts |
//
// # Figures
//
// On two cores that are busy with other things, for a token with 50 policies of
// 50 paths: the check of token and policies takes 2.0 to 2.7 µs and 8
// allocations (2 kB, of which the request is 1 kB). Without the cache the look-up
// alone takes 25 µs more from SQLite, and from Postgres a round trip. A read of
// sys/mounts over HTTP, with its commit of the request's event, the ledger and
// the client in the same process, takes 410 µs of the processors with the cache
// and 460 without it.
//
//	go test -run '^$' -bench Check -benchmem ./issuer/internal/access
//	go test -run '^$' -bench 'Read$' ./shared/store/sqlite
//	go test -run '^$' -bench Read ./services/curfew/internal/server
//
// # Who calls
//
// Package tokens looks up here who bears a request. The issuer runs the follower,
// and has each of its own commits forget the token that it changes.
package tokencache
