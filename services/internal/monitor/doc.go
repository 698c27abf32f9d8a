// Package monitor tells those who run a process how it is: paths over plain HTTP on an address of their own, without a token, so they belong on a
// network that only they reach. Nothing here is secret, nothing is recorded (D6).
//
//	/livez    200 while the process answers: restart it where it does not
//	/readyz   200 where it can do its work, 503 with the reasons where it cannot:
//	          send it no clients. Losing Redis or NATS is no reason (promise 6)
//	/metrics  Prometheus text format
//	/debug/pprof/  profiles of the process, where the configuration turns them on:
//	          they cost it time, and tell its functions' names
//
// What is asked of the store for a scrape is bounded in time; what could not be
// asked is left out of the answer, and curfew_store_up says so.
package monitor
