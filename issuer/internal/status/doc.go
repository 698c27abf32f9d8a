// Package status is what anybody may ask without a token: health, the state of
// the seal, who leads, whether there is an installation. None of it is recorded
// (D6), none of it reads a lease, and a load balancer may ask it every second.
//
// What holds: the code says it all (200 serving, 501 not initialised, 503
// sealed, or what the query puts in its place), so that HEAD is enough. A store
// that is suspended serves what it can, so it does not change the code: health
// says "suspended", and "doubted" where a person has to confirm the installation.
package status
