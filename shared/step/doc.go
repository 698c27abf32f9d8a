// Package step runs loops. A loop is a [Step]: one unit of work that says when
// it wants to run again. A [Runner] turns steps into goroutines; a simulation
// can call the same steps in an order of its own.
//
// What holds: a step never runs twice at the same time; an error is logged
// with the step's name and retried with growing delay up to Config.MaxBackoff;
// a wake-up that arrives while the step runs makes it run once more; one for which
// nobody waits pauses after its work ([Paced]), and then does what came meanwhile
// together; Run returns when all steps have returned.
package step
