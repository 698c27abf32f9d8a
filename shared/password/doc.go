// Package password draws passwords by the rules that people write into password
// policies, and says how much chance there is in them (B10).
//
// # Contract
//
//   - A [Policy] asks for a length and, for each of its rules, for at least so
//     many characters of a set. Characters come from all sets together.
//   - [Policy.Generate] draws uniformly: every password that obeys the rules is
//     equally likely. Whole candidates are drawn until one obeys; a character is
//     drawn from a byte, and bytes that would favour some characters are thrown
//     away.
//   - [Policy.Entropy] is the logarithm of how many such passwords there are. It
//     is exact where the rules have few enough combinations, else less than the
//     truth: what is decided by it errs towards caution.
//   - A policy that [Policy.Check] lets pass yields a password in a bounded time:
//     at least one candidate in 10,000 obeys.
//
// # What can go wrong
//
//	the random source fails      an error, and no password
//	the random source is stuck   an error after a bounded number of draws
//	rules that exclude each      refused by Check
//	  other, or nearly all
//
// # Who calls
//
// The issuer, which reads policies from what people write and keeps them in the
// store ([Policy.Encode], store.KindPasswordPolicy), and engines, which make
// credentials by them. The package is pure: randomness is given to it.
package password
