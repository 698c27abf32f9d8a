// Package instrument builds the programs of Curfew with a named point at each
// outbound call of its roles, at which the tests of faults kill a process or lose
// an answer (package crashpoint says how).
//
// # What a point is
//
// [Points] reads the source with its types. An outbound call of the issuer, the
// revoker with its indexer, the auditor, the publisher, and of what works for
// them on targets, is a call
//
//   - of a method that an interface of a contract has (store, bus, expiry,
//     engine), by name and signature, through any interface: roles declare the
//     parts of a contract that they need;
//   - that [concrete] names: messages to a target, and what an auditor makes
//     durable in files of its own.
//
// Reads are points, too: a process may die at any instant. A point is named by
// the function that calls and by what it calls. So the list is never out of date,
// and the same call made for another purpose is another point.
//
// # How a call becomes a point
//
// [Build] gives the compiler files in place of the source (go build -overlay), in
// which each of these calls goes through crashpoint.Wrap; no line changes its
// number. Nothing of this is in the source, so nothing can be in a program that
// is built in the ordinary way, and there is no generated file to keep: a test
// builds one and looks. Decorators of the contracts were the other way: they
// would have to be wired into each program under a build tag, to carry every
// optional ability of what they wrap, and could not tell one caller from another.
//
// # The clock
//
// Every program of Curfew reads the machine's clock in one place, package clock.
// [Build] rewrites that one in the same way, so that a test can give a process
// another clock and make it jump (package wrongclock says how). A library that
// reads the machine's clock by itself keeps it.
//
// # What can fail
//
//	a contract moves            no calls are found: an error
//	the clock moves             it is not read where it was: an error
//	a call that cannot be       the build fails and names the file
//	rewritten
package instrument
