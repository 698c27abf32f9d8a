// Package fsck compares what the sides of an installation hold: the accounts in
// the targets, the leases in the store, the expiry index, the events, the stream
// and the ledger. It only reads.
//
// # What it says
//
//	disagreement  there in both of two looks, with the same evidence, and enough
//	              time between them for running work to end; each with what will
//	              heal it, and by when
//	unseen        a side, or a target, that could not be looked at
//	note          no disagreement: the index is a hint, and may be away (D1)
//	passed        there at the first look and not at the second: work under way
//
// All agree only where nothing disagrees and nothing is unseen.
//
// # How it looks
//
// The order of reading makes one look nearly exact; the second takes away what is
// left. Leases are read before accounts: what an active lease has in its target
// stays there while it is active, and an account's intent precedes it (B3). So
// an account without a lease, and an active lease without its account, are
// looked up once more by name before they count. The store is read before the
// record: an entry that is missing is under way or lost, and what is under way
// arrives between the looks. What events have numbers at the first look has to be
// published and confirmed by the second (D3, D4).
//
// Time is the store's (A5). Nothing is decided by the clock of who looks.
//
// # Bounds
//
// A page of leases or accounts is held at a time, and of each live lease two
// small records without text, found by hash. Of more than Config.Hold live leases
// a share is compared at a time, in as many passes. At most 1,000 findings of a
// kind are kept and looked into; the others are counted.
//
// # What can fail
//
//	the store away     nothing is compared; the report says so
//	a target away      it is named; the others are compared
//	the ledger away    it is named; accounts and leases are compared
//	an answer cut off  the side counts as unseen
//
// # Who calls
//
// The command `curfew fsck`, over the API of the issuer (sys/fsck) and of the
// auditor (audit/fsck), or with [Local] on the files of a server that is
// stopped. The end-to-end and fault tests use the command.
package fsck
