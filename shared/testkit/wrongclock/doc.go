// Package wrongclock gives one process a wall clock that is not the machine's,
// and that jumps when the tests of faults say so. Only programs that were built by
// [instrument.Build] call it: there shared/clock is rewritten from
//
//	return time.Now()
//
// to
//
//	return wrongclock.Now(time.Now)
//
// No program that is built in the ordinary way imports it.
//
// # How a clock is set
//
// A process that was started with -config=FILE looks for FILE.clock, which says by
// how many whole seconds its wall clock is ahead of the machine's (less than 0:
// behind). [Set] writes it, at any time; the process finds out within some
// milliseconds. Without the file, and without a -config, the clock is right.
//
// # What is wrong then
//
// The wall clock alone: the difference of two readings is what really passed,
// as on a machine whose time somebody sets. Timers, deadlines of contexts and
// libraries that read the machine's clock themselves go on as they are.
package wrongclock
