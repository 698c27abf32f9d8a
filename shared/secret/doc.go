// Package secret holds values that must not be seen: passwords, tokens, keys.
//
// What holds: a [Value] prints, formats and encodes as "[redacted]", whatever
// the verb and whatever the encoder (fmt, JSON, text, and zerolog, which uses
// one of the three). The only way to the content is [Value.Reveal], so that a
// reviewer can count the places where a secret leaves.
//
// What does not: the content stays in the process's memory; Go gives no way to
// wipe a string.
package secret
