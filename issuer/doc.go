// Package issuer is the role that speaks the Vault HTTP API: it checks tokens
// and their policies, keeps mounts, issues credentials, and begins their revocation. It holds no
// state that a restart would lose and needs nothing but the store, so that any
// number of issuers serve side by side.
//
// What holds:
//   - no credential is answered whose lease is not committed as active, and none
//     is made without a committed intent (promise 1);
//   - access that was withdrawn (token, mount, role, connection, prefix) issues
//     nothing from the withdrawal's commit on (A3);
//   - each request is on record before it is answered (D6); issuing stops when
//     the record cannot be kept or taken away (D4), revoking never does;
//   - what a client did not receive is taken back (A8);
//   - while people have sealed the API nothing is served or issued, by any
//     issuer, from the commit of the seal on (C10);
//   - while the store is suspended nothing is issued or renewed, everything else
//     is served, and sys/installation says why (A7).
//
// Its parts, below internal/: api (HTTP), request and wire (what goes over the
// connection), fault (errors to statuses), record (events of requests), access
// and policy (what a token may do), tokencache (who bears a token, for a second), quota (how much of it), auth (how to get one), tokens, mounts, mount
// (what the last two kinds have in common), address,
// issuing, leases, status, operator (sys/installation). Failure tables are in
// their comments.
package issuer
