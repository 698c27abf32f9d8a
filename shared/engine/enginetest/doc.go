// Package enginetest holds the conformance suite of [engine.Engine], and an
// engine in memory for the tests of those who call one.
//
// # The laws
//
// [Laws] lists them; each has a name and the sentence that it keeps. They are
// stated for any engine whose target has accounts that log in, hold sessions
// and can be removed. A [Harness] gives the suite eyes in the target that do
// not go through the engine: what an engine says of itself proves nothing. An
// engine that has an optional ability keeps the laws of that, too.
//
// [Run] runs every law against a harness of its own, side by side.
//
// # The fake
//
// [Fake] passes the suite. Its target is a map; its clock is the caller's;
// [Fake.Inject] makes a method fail before or after its effect, for one account
// or all, once or until healed, and can hold calls to order races. The suite's
// own tests show that engines which break a law are found out.
package enginetest
