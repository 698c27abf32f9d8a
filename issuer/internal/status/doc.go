// Package status is what anybody may ask without a token: health, the state of
// the seal, who leads, whether there is an installation. None of it is recorded
// (D6), none of it reads a lease, and a load balancer may ask it every second.
//
// What holds: no answer waits for the store. The code says it all (200 serving,
// 501 not initialised, 503 sealed, or what the query puts in its place; 503 also
// where the store has been silent for five seconds, in every case, because nothing
// can be served), so that HEAD is enough. A store that is suspended serves what it
// can, so it does not change the code: health says "suspended", and "doubted" where
// a person has to confirm the installation. "clock_skew_ms" is the largest
// difference between the clock of a process and the store's, "versions" are those
// of the programs that run where they differ; neither changes the code.
package status
