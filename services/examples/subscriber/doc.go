// Command subscriber is a small example of a program that reacts to
// revocations: it follows the event stream and, for each lease that ended,
// prints a line and runs a command, for instance one that makes a connection
// pool let go of its old credential.
//
//	subscriber -nats nats://127.0.0.1:4222 -password-file data/nats-subscriber -- ./reload-pool
//
// The command finds CURFEW_EVENT, CURFEW_LEASE_ID, CURFEW_ACCOUNT, CURFEW_ROLE
// and CURFEW_REASON in its environment.
//
// # What holds
//
//   - An event is acknowledged after the command has succeeded: none is lost.
//   - Events come at least once, and versions count per lease: one whose
//     version is not higher than the last one seen for its lease is ignored.
//     The last ones are remembered in this process, a bounded number of them,
//     so after a restart the command may run again for the same lease: make it
//     repeatable.
//
// # What can fail
//
//	the command fails or hangs     the event comes again, until it succeeds;
//	                               others go on in between
//	this program stops             its place is kept in the stream under -name
//	the stream's server is away    tried again each second
//	the stream was made anew       read from its start; known events are ignored
//	a message is no event          named and put aside: it would never get better
package main
