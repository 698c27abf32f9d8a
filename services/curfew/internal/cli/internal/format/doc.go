// Package format lays out what the client commands print: aligned tables,
// wrapped sentences, and durations and values as a person reads them.
//
// It is pure: values in, text out, no I/O. The layouts are those that users of
// the stock Vault CLI know, so that scripts which cut or grep its tables go on
// working:
//
//   - columns are as wide as their widest cell and four spaces apart; the last
//     one is not padded; an empty cell reads "n/a";
//   - a number under a name that means a duration ("ttl", "lease_duration",
//     "…_ttl", "…_period") is seconds and reads "1h", "59m59s", "-2s";
//   - nil reads "<nil>", lists "[a b]", maps "map[a:b]" in order of key.
package format
