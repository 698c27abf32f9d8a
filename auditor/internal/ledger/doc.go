// Package ledger is the audit transparency log: an append-only Merkle log of
// the events, one segment per epoch, that anyone can verify (D5).
//
// Entries are opaque bytes of at most [MaxEntrySize]. Entry n of an epoch's
// segment is event n of that epoch: numbers begin at 1 and have no gap, so the
// log's leaf index is the number less one.
//
// # Contract
//
//   - [Open] takes the directory's lock; one appender at a time. A [Reader] and
//     [Verify] need no lock and work while another process appends.
//   - [Ledger.Append] takes only the next entry. What the ledger already has is
//     dropped, a gap is a [*GapError]. It returns when the entries are on disk
//     (fsync of every file and directory) and in the tree; a checkpoint covers
//     them within two checkpoint intervals. The number that it returns, also
//     beside an error, may be confirmed to the store.
//   - [Ledger.Next] is read from the log itself, never from a note kept beside
//     it: what the library's state file says is believed only when the tiles
//     have its root, the last bundle hashes to the last tile, and the signed
//     checkpoint is a prefix.
//   - [Verify] recomputes everything from the bytes of the entries and names
//     what is not as signed: epoch, entries, file.
//
// # Layout
//
//	<dir>/lock              flock; fencing number and pid of the holder
//	<dir>/checkpoint.key    Ed25519 signing key, mode 0600 (or Config.KeyFile)
//	<dir>/checkpoint.pub    its public half, named curfew/<installation>
//	<dir>/manifest          signed list of the segments (see manifest)
//	<dir>/epoch-0001/       a C2SP tlog-tiles log, written by tessera
//	    checkpoint          signed note, origin curfew/<installation>/1
//	    tile/<level>/…      hashes
//	    tile/entries/…      256 entries a bundle
//	    .state/             tessera's state, not signed
//
// Any C2SP tool verifies a segment with [PublicKey.EpochVerifierKey]. The keys
// of all segments are one key under different names, so that a checkpoint of
// one epoch or installation is none of another.
//
// # Checkpoints and the fencing number
//
// The library composes the checkpoint's text and leaves no room for extension
// lines, but it takes further signers. So a checkpoint bears two signatures of
// the same key: the ordinary one, and one of a type of our own that carries the
// fencing number and signs it with the text. Both are in one file that is
// replaced at once; a sidecar would be a second file that can disagree. The
// texts signed begin differently, so neither signature passes for the other.
//
// The fencing number is one more than any in manifest and checkpoints. Before
// each batch and each signature the lock is looked at again: a lock file that
// was replaced, or stamped by someone else, ends the appender with [ErrFenced].
//
// # Batches
//
// A batch holds at most 256 entries and ends where a bundle ends. Each is given
// to the library as one unit and awaited before the next: the library's own
// queue may cut a batch in two by age, and a first part that fails before a
// second that does not would shift every later number. There is no timer: while
// one batch is written the caller gathers the next. Measured on two cores with
// entries of 600 bytes (go test -run '^$' -bench . ./internal/ledger): 2.5 ms
// for one entry alone, 60,000 entries a second in batches of 256 or more;
// Verify recomputes 640,000 entries a second.
//
// # Verifying
//
// Signature and root come first; from the root down each tile is proved by the
// node above it and each entry by its leaf hash, and every file on disk is
// compared with what is proved about it, superseded partial files included. A
// tile that is not what the node above says is recomputed from the entries
// below, which tells a bad tile from a bad entry. (The library's own fsck stops
// at the first mismatch without saying which side of it is wrong, and hangs when
// it finds more than it has workers.)
//
// A change shows against, in this order: the checkpoint's signature; the
// manifest, which remembers each segment and the size that it had; a checkpoint
// that an outsider kept, the only thing that shows what the holder of the key
// has rewritten, or that the whole directory was put back. Keep one elsewhere.
//
// Not part of the record are the lock file, tessera's empty lock files and its
// note of what it has collected (.state/gcState): changing them changes no
// statement about entries. Entries after the last checkpoint are compared with
// the library's unsigned state; [SegmentReport] says how many they are.
//
// # Failures
//
//	what happens                    what follows
//	process killed in a batch       entries that were acknowledged are there; what the batch
//	                                left beyond them is dropped at the next Open, the
//	                                caller offers it again
//	killed between batch and        the next Open signs them
//	checkpoint
//	killed while a segment begins   the next use begins it anew: no entry is in it before
//	                                its first checkpoint is there
//	a write fails (disk full, I/O)  ErrBroken until reopened: an fsync is never retried, what
//	                                is on disk is read anew; no later entry takes the place
//	answer of Append is lost        the same entries are offered again and dropped
//	a second process opens          ErrLocked, with the holder's pid
//	lock file removed or replaced   the old appender stops with ErrFenced
//	entry over 65,535 bytes         ErrEntryTooLarge; nothing of that call is appended
//	segment, state or checkpoint    DamagedError when the segment is used: the library would
//	missing, shorter or changed     sign an empty tree over it. Other epochs go on
//	manifest or key missing,        Open fails
//	segments there
//	whole directory wiped           a new ledger under a new key, from entry 1; outsiders need
//	                                the new public key
//	clock put back                  checkpoints go on (see segment.unstick)
//	checkpoint cannot be written    entries stay durable and unsigned; the library tries again
//	                                each interval and says so in the log; Close fails
//
// Damage is for a person: run Verify, keep the directory, move it away; the
// auditor then fetches the events anew.
package ledger
