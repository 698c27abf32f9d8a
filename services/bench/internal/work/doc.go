// Package work is the benchmarks themselves.
//
// Each measures a server through the Vault HTTP API and the target by plain SQL;
// those that need more (a process to kill, its memory) run only on a server that
// was started for them, and say so. Where it makes sense the same work is done by
// package bare in the same run, before or after, so that the ratio of both holds
// on whatever machine this is.
//
// What holds: every benchmark leaves neither a lease nor an account, and fails
// where the server does ([Bench.settle]); an error of the server is counted and
// shown, never skipped; what is due when is what the server says of each lease.
package work
