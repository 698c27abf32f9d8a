// Package status is what anybody may ask without a token: health, the state of
// the seal, who leads, whether there is an installation. None of it is recorded
// (D6), none of it reads a lease, and a load balancer may ask it every second.
//
// What holds: the code says it all (200 serving, 501 not initialised, 503
// sealed, or what the query puts in its place), so that HEAD is enough.
package status
