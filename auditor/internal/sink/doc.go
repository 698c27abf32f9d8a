// Package sink writes the record to files, in the form that stock servers have
// for their audit devices: one JSON object a line. It reads the ledger; what a
// line says was durable in the store before anybody was answered.
//
// # What holds
//
//   - Lines follow the ledger, event by event in order, from the moment a device
//     was enabled. The place of a device ([device.Consumer], in the store) moves
//     after its lines are durable in a file that has a name: at least once. Every
//     line names its event, so that with its type it is recognised when it comes
//     again. Whichever auditor appends goes on from that place.
//   - Nothing waits for a device: not the ledger, not a request, not a revocation,
//     not another device, and a stop waits for seconds only.
//   - What must not be read is written as HMAC with a key of the device's own.
//   - A file is regular, has one name, is not executable, lies below a directory
//     that the configuration allows also where links lead elsewhere, is none of
//     the program's own, and held audit lines or nothing when it was opened.
//   - Every line is whole: what a crash or a full disk has torn is taken off when
//     the file is opened, and written again. (One that was renamed in between may
//     end in a torn line; its event is in the next file.)
//
// # Lines
//
//	event                              line
//	request.served, request.denied     a request and a response with the id of the
//	                                   API's answer; with the lease and the hashed
//	                                   account, or the hashed token, that it gave
//	the same, counted                  one request without a path, for all of them
//	lease.revoking, token.revoking,    a request "revoke" on sys/leases/revoke/<id>
//	account.stray                      by who caused it, such as system:expiry
//	lease.revoked, .expired,           the response to it; with an error where it
//	.abandoned, .rolled_back,          failed and is tried again, or was abandoned
//	.revocation_failed, token.revoked
//	lease.intent, .created, .renewed,  none: the lines of their request or of their
//	.progress, token.used              end stand for them
//	token.created, .renewed,           none if a request caused it, for it has its
//	.rewrapped, config.changed,        own; else a request by the system
//	installation.confirmed
//	anything else                      a request by the system
//
// What no event holds no line can hold: values that were sent or answered, texts
// of errors. The names of fields that were sent are in curfew.fields.
//
// # What can fail
//
//	disk full, no access      the file is given up and opened again, at most two
//	                          seconds apart; whole lines that got through count
//	sync fails                what was not confirmed is written again
//	file renamed              another is made under the path, within a second
//	file deleted              the same, and what was not confirmed is written again
//	file locked by another    it waits: two never write one file
//	call hangs                shown after 30 s; a stop leaves it behind
//	store away                devices go on with what the ledger has; the place is
//	                          confirmed later
//	killed                    up to a second of lines is written again
//	ledger replaced           the device stops and says so: a person restores it
//
// The trouble of a device is in its entry (with an event), the log and
// [Table.Status].
//
// # Who calls
//
// The auditor runs [Table] while it appends.
package sink
