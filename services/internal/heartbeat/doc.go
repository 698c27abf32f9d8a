// Package heartbeat says now and then that a process runs, which version it is,
// and how far its clock is from the store's: for people, who see it in
// sys/installation, sys/health and the metrics. Nothing is decided by it (A5).
//
// What holds: the skew is what the round trip to the store cannot explain, with
// its sign; a difference within it is 0. A process that stops in order is
// forgotten at once, one that does not after [installation.Forgotten].
//
// What can fail: the store is away, then it is tried again, at most ten seconds
// apart; the entry of a stop in order is left behind where the store is away.
package heartbeat
