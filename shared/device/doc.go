// Package device is what issuers and auditors agree on about audit devices: the
// entry of the store that stands for one, its options, and how it writes what
// must not be read.
//
// # How one comes to be
//
// An issuer is asked to enable a device, but the file is on the auditor's
// machine. So the issuer commits the entry in the state enabling, with a time
// until which it waits; the auditor that appends to the ledger opens the file and
// answers by a compare-and-swap on the entry:
//
//	enabling ──▶ active     the file is open; what is committed from now on is in it
//	         └─▶ refused    with the reason; also by the issuer, when its time is up
//
// Exactly one of the two wins. A refused entry is nobody's and is deleted by
// whoever meets it. Disabling deletes the entry.
//
// # What holds
//
//   - A device has a key of its own, sealed in its entry for its incarnation: who
//     copies it to another entry cannot open it. One that is disabled and made
//     anew has another key.
//   - [Hasher.Hash] is the only way in which a value that must not be read gets
//     into a line, and the same that sys/audit-hash answers.
//   - The texts of tokens are on no record; what stands for one is the keyed hash
//     that its lease's id ends with ([TokenMark]).
//
// # Who calls
//
// The issuer's sys/audit, and the auditor's devices. It does no I/O of its own.
package device
