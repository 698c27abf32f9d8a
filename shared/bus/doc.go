// Package bus is the contract of the event stream.
//
// What holds: the stream carries numbered events in order of their numbers, at
// least once; it never is the only copy of anything (promise 6). Publish is
// idempotent within the broker's de-duplication window by the event's id.
//
// What can fail: the broker may be away, lose its stream, lose its tail or
// deliver twice. A consumer learns of a lost tail from the head that the
// publisher announces (D4), fetches what it misses from the store, and keeps
// no memory of single leases (D3).
//
// Who calls: the publisher (Publish, Announce), the revoker's indexer, the
// auditor and any subscriber (Consume), the recovery of a store that has lost
// commits (Replay, A7). The suite is package bustest.
package bus
