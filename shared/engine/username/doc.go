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
// A connection may have a template of its own instead ([ParseTemplate]), in
// which {{.Mark}} stands for 27 characters: the same 20, and 7 more that are the
// time, which the rest of such a name need not tell:
//
//	12  the lease
//	 1  the id of the naming key
//	 7  a tag over the installation id and every other character of the name
//	 7  seconds since 1970, in lower-case base32
//
// Where they stand is not written down anywhere: Recognise tries each place that
// has 27 such characters in a row. So names are recognised after their template
// was changed, and after the connection that had it is gone.
//
// The group role of a role with shared_grants reads
//
//	curfew-grants-<role>-<12: the group>-<1: naming key><7: tag>-<unix time>
//
// and is recognised by a tag of its own kind ([Namer.RecogniseGroup]).
//
// # Invariants
//
//   - A name is computed from the lease id before the target is touched, so a
//     crash at any instant leaves an account that leads back to its lease.
//   - Display name and role are chosen by people, tokens and paths. Only
//     [a-z0-9] and single hyphens between them pass; a name therefore needs no
//     escaping in any quoting context and holds no "--", the SQL comment.
//   - A name of Curfew's own making has at most 51 bytes, below the 63 at which PostgreSQL cuts
//     identifiers off without an error.
//   - A template is accepted only if, for every display name and role, its names
//     hold the mark once and whole, have at most 63 bytes and no character that
//     needs escaping, and no "--". That is proved on the template, expression by
//     expression, not tried out: no lease fails for its name.
//   - Recognise accepts a name only with a valid tag of a known key for this
//     installation. A sweep thus touches neither accounts of people, nor those
//     of Vault, nor those of another installation in the same target.
//   - No name is both an account's and a group role's: there are never 20
//     characters of base32 in a row in the latter, and the tags differ.
//   - Keys are kept as long as an account named under them can exist; any
//     number up to 32 is accepted, one of them names new accounts.
//
// # What can go wrong
//
//	a tag guessed           1 in 2^35 per try (for a templated name, at each of
//	                        at most 37 places), and whoever tries needs the
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
// The package does no I/O, has no clock and is safe for concurrent use. Only what
// a template asks for of random text comes from the system's source.
package username
