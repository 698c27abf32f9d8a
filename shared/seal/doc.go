// Package seal encrypts configuration at rest under a master key that is kept
// in a file of its own.
//
// What holds:
//   - a sealed text is AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce
//     under a subkey that HKDF-SHA-256 (RFC 5869) derives from the master key;
//   - the context (what the text is about, such as a connection's id) is
//     authenticated: a text sealed for one context does not open in another;
//   - the envelope names the format and the key: several master keys may be in
//     the ring, one of which seals; the others still open what they sealed;
//   - a key file is 0600, and is never written over.
//
// What can fail: ErrUnknownKey (the key is not in the ring), ErrTampered (the
// text, its context or its key is not what it was). Nothing that fails returns
// any plaintext.
//
// Who calls: the engines (passwords of connections, naming keys), the issuer
// (the key of token hashes), by way of the program that loads the key file.
package seal
