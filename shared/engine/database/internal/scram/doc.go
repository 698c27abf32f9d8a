// Package scram hashes passwords before they leave Curfew and makes the
// passwords it hashes (B5, B10).
//
// A role created with a ready-made verifier gives its password away to nobody:
// neither the server's log nor pg_stat_activity nor a batch that failed holds
// more than the verifier, and from that nobody can log in.
//
// # Contract
//
//   - [Verifier] returns what PostgreSQL itself would store for the password:
//     SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey> of RFC 5802
//     and RFC 7677, each of the three in standard base64. PostgreSQL takes
//     such a string after PASSWORD as it is.
//   - Passwords are printable ASCII. For those SASLprep (RFC 4013) changes
//     nothing, so server and every client library agree on the bytes; other
//     characters are refused rather than normalised in a way that one of them
//     might not share.
//   - [Password] draws uniformly from all passwords of its shape. From
//     [MinLength] characters on that is more than 128 bits, which needs no
//     stretching: any number of iterations is safe for such a password. The
//     default of [DefaultIterations] is there for client libraries that refuse
//     fewer. A password that comes from elsewhere (a policy, a person) and has
//     fewer than 128 bits needs at least [DefaultIterations].
//
// # What can go wrong
//
//	the random source fails      an error, and no password
//	the random source is stuck   an error after a bounded number of draws
//	a password without its shape an error that does not repeat the password
//	a verifier that is none      Parse says which part, never its value
//
// The package is pure: randomness is given to it, and nothing is kept.
package scram
