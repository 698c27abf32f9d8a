// Package api serves the record over HTTP:
//
//	GET /v1/audit/entries     search by lease, type, since, until, after, limit
//	GET /v1/audit/stream      server-sent events from now, or after Last-Event-ID
//	GET /v1/audit/checkpoint  the latest signed checkpoint (text)
//	GET /v1/audit/key         the public key that verifies checkpoints (text)
//	GET /v1/audit/fsck        the whole record, checked: lines of JSON; package examine
//
// # What holds
//
//   - Entries are answered from the ledger, never from the stream of the broker.
//   - A search waits a moment for the catalogue; one that may miss the newest
//     entries says so in a warning.
//   - The id of a server-sent event is the event's id, so a reader that comes
//     back with Last-Event-ID misses nothing and gets nothing twice. The place
//     where it begins is its first id, before any event; each heartbeat gives
//     the place reached, so that a filter that matches nothing loses no ground.
//   - Growth of the ledger costs each reader at most ten looks a second.
//   - Authentication is the caller's: the issuer puts these handlers behind its
//     tokens. A stream ends after an hour, so that the right to read is looked
//     at again.
//
// # Bounds (section E)
//
//	readers of streams    256, then 503 with Retry-After
//	searches at a time     16, then 503 with Retry-After
//	checks at a time       2, then 503 with Retry-After
//	entries a search       10,000
//	a reader's backlog     none: it reads the ledger at its own pace
//	time to take a batch   10 s, then the reader is cut and may resume
//
// # What can fail
//
//	catalogue or ledger cannot be read  500; a stream ends, its reader comes back
//	entry damaged                       shown with the type "unreadable"
//	the auditor stops                   streams end, readers come back
package api
