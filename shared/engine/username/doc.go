// Package username gives the accounts that Curfew creates in a target their
// names, and recognises such names again (B2).
//
// A name reads
//
//	v-<display>-<role>-<mark>-<unix time>
//
// as Vault's default does, so that people and their dashboards find what they
// know. The mark is where it differs: 20 characters of lower-case base32
// (RFC 4648 with the letters in lower case), made of
//
//	12  the lease, as the first 60 bits of a hash of its id
//	 1  the id of the naming key
//	 7  a tag: the first 35 bits of HMAC-SHA256 under that key over the
//	    installation id and every other character of the name
//
// # Invariants
//
//   - A name is computed from the lease id before the target is touched, so a
//     crash at any instant leaves an account that leads back to its lease.
//   - Display name and role are chosen by people, tokens and paths. Only
//     [a-z0-9] and single hyphens between them pass; a name therefore needs no
//     escaping in any quoting context and holds no "--", the SQL comment.
//   - A name has at most 51 bytes, below the 63 at which PostgreSQL cuts
//     identifiers off without an error.
//   - Recognise accepts a name only with a valid tag of a known key for this
//     installation. A sweep thus touches neither accounts of people, nor those
//     of Vault, nor those of another installation in the same target.
//   - Keys are kept as long as an account named under them can exist; any
//     number up to 32 is accepted, one of them names new accounts.
//
// # What can go wrong
//
//	a tag guessed           1 in 2^35 per try, and whoever tries needs the
//	                        right to create roles in the target; the sweep
//	                        then asks the store, which knows no such lease
//	a key lost              accounts under it are no longer recognised as
//	                        strays; live leases are revoked by their name in
//	                        the store all the same
//	two leases, one hash    at 10^8 live leases 0.4 % that any two share 60
//	                        bits; display, role and second would have to agree
//	                        too before two names did
//	a copied installation   names agree by design: B3 asks a person first
//
// The package is pure: no I/O, no clock, safe for concurrent use.
package username
