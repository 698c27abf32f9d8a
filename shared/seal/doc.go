// Package seal encrypts what must not lie in the clear: configuration at rest,
// and the keys that are derived for other uses. It knows no store.
//
// # Shape
//
// A [Keyring] holds master keys of 32 random bytes. The first one seals, all of
// them open, so that a key can be changed: put the new one first, seal
// everything again, drop the old one. Master keys are never used themselves:
// HKDF-SHA256 (RFC 5869) derives one key for each purpose.
//
//	sealed = format (1 byte, 1) | key id (8) | nonce (12) | AES-256-GCM ciphertext and tag
//	additional data = format | key id | the caller's context
//	key id = first 8 bytes of SHA-256("curfew master key id\x00" | master key)
//
// # What holds
//
//   - What was sealed for one context opens for no other: a ciphertext moved to
//     another row is refused. A context names the place, such as
//     "connection/<id>/password".
//   - Any change of any byte is refused.
//   - No key is printed, whatever the verb.
//   - Nonces are random: safe for 2^32 messages a master key (NIST SP 800-38D),
//     far more than there is configuration.
//
// # What can fail
//
//	ErrTampered    changed, cut, of another context, or never sealed
//	ErrUnknownKey  sealed with a key that is not in the ring
//	ErrKeyFile     the file is readable by others, or holds no key
package seal
