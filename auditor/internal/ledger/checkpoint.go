package ledger

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	formats "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

// Checkpoint is a signed statement about one segment: its first Size entries
// have this Merkle root. An outsider keeps Raw and gives it to Verify later.
type Checkpoint struct {
	Epoch int64
	Size  int64  // entries covered; the last one has this number
	Root  []byte // RFC 6962 root hash, SHA-256
	Fence uint64 // fencing number of the lock under which it was signed (D5)
	Raw   []byte // the signed note, as published
}

// ParseCheckpoint checks both signatures of a checkpoint (the ordinary one of
// C2SP tlog-checkpoint and the one that carries the fencing number) and returns
// what they sign. Cosignatures of others are left alone.
func ParseCheckpoint(key PublicKey, raw []byte) (Checkpoint, error) {
	origin, _, _ := strings.Cut(string(raw), "\n")
	digits, ok := strings.CutPrefix(origin, originPrefix+key.installation+"/")
	epoch, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || epoch < 1 || key.Origin(epoch) != origin {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: origin %q is not a segment of installation %q", origin, key.installation)
	}
	n, err := openNote(raw, key, origin)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %w", err)
	}
	var parsed formats.Checkpoint
	rest, err := parsed.Unmarshal([]byte(n.Text))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %w", err)
	}
	if len(rest) != 0 || len(parsed.Hash) != rfc6962.DefaultHasher.Size() || parsed.Size != sizeOf(lastOf(parsed.Size)) {
		return Checkpoint{}, errors.New("parse checkpoint: not a tree size with its root")
	}
	fence, err := fenceOf(n, key.fenceVerifier(origin).KeyHash())
	if err != nil {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %w", err)
	}
	return Checkpoint{Epoch: epoch, Size: lastOf(parsed.Size), Root: parsed.Hash, Fence: fence, Raw: raw}, nil
}

// parseOwnCheckpoint is ParseCheckpoint for the file in the ledger, in which
// every byte is ours: a changed one is found even where decoding forgives it.
func parseOwnCheckpoint(key PublicKey, epoch int64, raw []byte) (Checkpoint, error) {
	cp, err := ParseCheckpoint(key, raw)
	if err != nil {
		return cp, err
	}
	if cp.Epoch != epoch {
		return cp, fmt.Errorf("parse checkpoint: it belongs to epoch %d", cp.Epoch)
	}
	return cp, checkCanonical(raw, key, key.Origin(epoch))
}

// openNote verifies a note that must bear the plain signature of the key.
func openNote(raw []byte, key PublicKey, name string) (*note.Note, error) {
	plain, err := key.verifier(name)
	if err != nil {
		return nil, err
	}
	n, err := note.Open(raw, note.VerifierList(plain, key.fenceVerifier(name)))
	if err != nil {
		return nil, err
	}
	for _, sig := range n.Sigs {
		if sig.Hash == plain.KeyHash() {
			return n, nil
		}
	}
	return nil, errors.New("the signature is missing")
}

func fenceOf(n *note.Note, hash uint32) (uint64, error) {
	for _, sig := range n.Sigs {
		if sig.Hash != hash {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(sig.Base64)
		if err != nil || len(raw) < 12 {
			return 0, errors.New("the fencing signature is malformed")
		}
		return binary.BigEndian.Uint64(raw[4:]), nil // after the key hash
	}
	return 0, errors.New("the fencing signature is missing")
}

// checkCanonical fails unless raw is exactly the note that this key writes:
// both signatures in order, nothing else, and base64 without slack bits.
func checkCanonical(raw []byte, key PublicKey, name string) error {
	n, err := openNote(raw, key, name)
	if err != nil {
		return err
	}
	if len(n.Sigs) != 2 || len(n.UnverifiedSigs) != 0 {
		return errors.New("not exactly the two signatures of the ledger's key")
	}
	var want bytes.Buffer
	want.WriteString(n.Text + "\n")
	for _, sig := range n.Sigs {
		decoded, err := base64.StdEncoding.Strict().DecodeString(sig.Base64)
		if err != nil {
			return fmt.Errorf("a signature is not in its canonical form: %w", err)
		}
		fmt.Fprintf(&want, "— %s %s\n", sig.Name, base64.StdEncoding.EncodeToString(decoded))
	}
	if !bytes.Equal(want.Bytes(), raw) {
		return errors.New("not in its canonical form")
	}
	return nil
}
