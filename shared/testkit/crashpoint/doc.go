// Package crashpoint ends a process, or loses an answer, at a named outbound
// call. Only programs that were built by [instrument.Build] call it: there each
// outbound call of a role is rewritten from
//
//	s.store.Apply(ctx, items...)
//
// to
//
//	crashpoint.Wrap("issuer/internal/issuing.issue.apply store.Apply", s.store.Apply)(ctx, items...)
//
// No program that is built in the ordinary way imports it.
//
// # How a point is armed
//
// A process looks for the folder "crashpoints" beside its program; without one,
// calls are only passed on. There
//
//	plan.<n>          says what happens where: see [Plan]
//	fired.<n>.<pid>   is that plan, taken by the process in which it happens
//	hits              has a line for each point that any process came by
//	hits.begun        another text each time that they are forgotten
//
// A plan is taken by renaming it, so that one process carries it out, once,
// however many come by. It may be put there at any time.
//
// # Purposes
//
// One call in the source may serve very different ends. What a call of the store
// changes is a part of the point's full name, in brackets, at run time:
// "… store.Apply [Begin secret]". A plan may name a point with it, or without.
package crashpoint
