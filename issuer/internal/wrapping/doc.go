// Package wrapping puts answers under tokens that open once (A9).
//
// A wrapping token is a lease of kind token that holds an answer. Its text is
//
//	hvs.<24 that find the lease><66 that open it>
//
// and nothing of the second part is stored, not even a hash: the answer is
// sealed under a key that is derived from the whole text, and whoever has
// another text cannot open it. The store alone, or a copy of it, opens nothing.
//
// What holds:
//   - content is given after one change in the store has said so (lease.Open),
//     which ends the token and drops the content in the same commit: of any number
//     that open it at the same time, at any number of issuers, one gets it;
//   - a token that ends unopened, by its time or because a person revoked it by
//     its accessor, takes the lease or token inside it with it: whether it does is
//     decided by the one change that ended it, and the revoker carries it out;
//   - rewrapping is one change of the same lease: at no moment do two texts open
//     it, or none;
//   - looking it up takes no use and tells nothing of the content;
//   - wrapping tokens are orphans: one outlives the token that asked for it, as
//     what is inside may not. They are no tokens to anything else than the paths
//     of this package;
//   - an answer that issues nothing is wrapped too. Nothing is inside then that
//     would have to be revoked: a secret id of AppRole that nobody fetched lives
//     until its own end, and so does a lease whose renewal was wrapped.
//
// When it is opened, the answer's durations are what is left by then, not what
// they were: a client that takes them for granted must not go by a time that
// passed unopened.
//
// | fails | then |
// |---|---|
// | the commit of the wrap | what was issued is taken back; the request fails |
// | the write of the answer | wrap and content are revoked: "not delivered" (A8) |
// | a kill between issue and wrap | the lease lives to its end, as if its answer was lost |
// | the commit of the opening, outcome unknown | no content; the token may be used up |
// | the write of the content | what is inside is revoked: "not delivered" (A8) |
// | a kill between opening and answer | the content is lost; what is inside lives to its end |
// | a restore of the store (A7) | an opened one stays opened; one whose text may have changed is revoked |
package wrapping
