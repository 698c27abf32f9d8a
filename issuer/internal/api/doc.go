// Package api is the HTTP API: it admits a request, finds out who asks, finds
// who answers, records it and writes the answer.
//
//	path ─▶ open path? ─▶ room? ─▶ sealed? ─▶ rate? ─▶ login? ─▶ token ─▶ body ─▶ policies ─▶ route ─▶ record ─▶ write
//
// What holds:
//   - nothing but health, seal-status, leader, init, unseal and the logins of auth
//     methods is served without a valid token, and a login does nothing else;
//   - what a token may do is asked of its policies before anything is looked for
//     (package access), so who may not learns not even whether there is something;
//   - every path is explained (?help=1) to every valid token, but what is below a
//     mount only to who has a permission there;
//   - every other request is on record before it is answered; a revocation is
//     answered also where that fails (promise 5);
//   - one function maps errors to answers (package fault); what it does not know
//     says nothing but the request's id;
//   - a panic becomes a 500, and what was made but not answered is taken back;
//   - requests in flight are bounded, those that take access away have room of
//     their own (section E).
//
// | fails | then |
// |---|---|
// | no room | 503 with Retry-After; counted |
// | over a rate quota | 429 with Retry-After and X-RateLimit-*; counted; never what takes access away |
// | token missing or not valid | 403; recorded at a bounded rate |
// | the record | 503, also for what was read or configured; never for a revocation |
// | the write of an answer, or the client went away before it | what it hands out is revoked (A8) |
package api
