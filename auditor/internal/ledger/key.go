package ledger

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	originPrefix = "curfew/"
	fenceContext = "curfew-fence/v1"

	// Signature type of C2SP signed-note, the byte before the public key.
	algorithmEd25519 = 0x01
)

// PublicKey verifies the checkpoints and the manifest of one installation. Its
// text form is a C2SP verifier key named "curfew/<installation>"; the same key
// verifies each segment under the name that is the segment's origin.
type PublicKey struct {
	installation string
	key          ed25519.PublicKey
}

// ParsePublicKey reads the text form, the content of <dir>/checkpoint.pub.
func ParsePublicKey(text string) (PublicKey, error) {
	text = strings.TrimSuffix(text, "\n")
	if _, err := note.NewVerifier(text); err != nil {
		return PublicKey{}, fmt.Errorf("parse public key: %w", err)
	}
	// NewVerifier has checked form, hash and length: name+hash+base64(0x01 key).
	parts := strings.SplitN(text, "+", 3)
	raw, err := base64.StdEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algorithmEd25519 {
		return PublicKey{}, errors.New("parse public key: not a plain Ed25519 key")
	}
	installation, ok := strings.CutPrefix(parts[0], originPrefix)
	if !ok || !validInstallation(installation) {
		return PublicKey{}, fmt.Errorf("parse public key: name %q is not %s<installation>", parts[0], originPrefix)
	}
	return PublicKey{installation: installation, key: raw[1:]}, nil
}

// String is the text form.
func (k PublicKey) String() string { return k.verifierKey(originPrefix + k.installation) }

// Installation is the id of the installation whose ledger the key signs.
func (k PublicKey) Installation() string { return k.installation }

// Origin is the origin line of the checkpoints of an epoch's segment.
func (k PublicKey) Origin(epoch int64) string {
	return fmt.Sprintf("%s%s/%d", originPrefix, k.installation, epoch)
}

// EpochVerifierKey is the verifier key of one segment in the form that other
// C2SP tlog-tiles tools take.
func (k PublicKey) EpochVerifierKey(epoch int64) string { return k.verifierKey(k.Origin(epoch)) }

func (k PublicKey) manifestName() string { return originPrefix + k.installation + "/segments" }

func (k PublicKey) verifierKey(name string) string {
	text, err := note.NewEd25519VerifierKey(name, k.key)
	if err != nil {
		return "" // the zero PublicKey, which verifies nothing
	}
	return text
}

func (k PublicKey) verifier(name string) (note.Verifier, error) {
	return note.NewVerifier(k.verifierKey(name))
}

func (k PublicKey) fenceVerifier(name string) fenceVerifier {
	return fenceVerifier{name: name, key: k.key}
}

// signingKey is the private half.
type signingKey struct {
	private ed25519.PrivateKey
	public  PublicKey
}

// loadKey reads a key file; createKey writes one where there is none.
func loadKey(path, installation string) (signingKey, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the configured key file
	if err != nil {
		return signingKey{}, err
	}
	return parseKey(string(raw), installation)
}

func parseKey(text, installation string) (signingKey, error) {
	text = strings.TrimSuffix(text, "\n")
	signer, err := note.NewSigner(text)
	if err != nil {
		return signingKey{}, fmt.Errorf("parse key file: %w", err)
	}
	if want := originPrefix + installation; signer.Name() != want {
		return signingKey{}, fmt.Errorf("parse key file: the key is named %q, want %q: it belongs to another installation", signer.Name(), want)
	}
	// NewSigner has checked the form: PRIVATE+KEY+name+hash+base64(0x01 seed).
	raw, err := base64.StdEncoding.DecodeString(text[strings.Index(text, signer.Name())+len(signer.Name())+len("+01234567+"):])
	if err != nil || len(raw) != 1+ed25519.SeedSize {
		return signingKey{}, errors.New("parse key file: not a plain Ed25519 key")
	}
	return newSigningKey(ed25519.NewKeyFromSeed(raw[1:]), installation), nil
}

func newSigningKey(private ed25519.PrivateKey, installation string) signingKey {
	public := make(ed25519.PublicKey, ed25519.PublicKeySize)
	copy(public, private[ed25519.SeedSize:])
	return signingKey{private: private, public: PublicKey{installation: installation, key: public}}
}

func createKey(path, installation string) (signingKey, error) {
	text, _, err := note.GenerateKey(rand.Reader, originPrefix+installation)
	if err != nil {
		return signingKey{}, err
	}
	if err := createFile(path, []byte(text+"\n"), secretMode); err != nil {
		return signingKey{}, err
	}
	return parseKey(text, installation)
}

// openKey loads the key, or creates it if the ledger is a new one.
func openKey(cfg Config, fresh bool) (signingKey, error) {
	key, err := loadKey(cfg.KeyFile, cfg.Installation)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if !fresh {
		return signingKey{}, fmt.Errorf("%w: a new key could not continue what the old one signed; put the file back, or move %s away to begin a new ledger", err, cfg.Dir)
	}
	return createKey(cfg.KeyFile, cfg.Installation)
}

// noteSigner signs texts under one name. Both kinds of signature that the
// ledger makes are noteSigners over the same key; what they sign begins
// differently, so that one can never pass for the other.
type noteSigner struct {
	name string
	hash uint32
	sign func(text []byte) ([]byte, error)
}

var _ note.Signer = noteSigner{}

func (s noteSigner) Name() string                     { return s.name }
func (s noteSigner) KeyHash() uint32                  { return s.hash }
func (s noteSigner) Sign(text []byte) ([]byte, error) { return s.sign(text) }

// plainSigner makes the ordinary Ed25519 signature of a note.
func (k signingKey) plainSigner(name string) noteSigner {
	return noteSigner{
		name: name,
		hash: keyHash(name, append([]byte{algorithmEd25519}, k.public.key...)),
		sign: func(text []byte) ([]byte, error) { return ed25519.Sign(k.private, text), nil },
	}
}

// fenceSigner makes the second signature, which carries the fencing number:
// eight bytes of number, then Ed25519 over context, number and text.
func (k signingKey) fenceSigner(name string, fence uint64) noteSigner {
	return noteSigner{
		name: name,
		hash: k.public.fenceVerifier(name).KeyHash(),
		sign: func(text []byte) ([]byte, error) {
			sig := binary.BigEndian.AppendUint64(nil, fence)
			return append(sig, ed25519.Sign(k.private, fencedText(fence, text))...), nil
		},
	}
}

func fencedText(fence uint64, text []byte) []byte {
	return fmt.Appendf(nil, "%s\nfence %d\n%s", fenceContext, fence, text)
}

type fenceVerifier struct {
	name string
	key  ed25519.PublicKey
}

var _ note.Verifier = fenceVerifier{}

func (v fenceVerifier) Name() string { return v.name }

func (v fenceVerifier) KeyHash() uint32 {
	return keyHash(v.name, append([]byte("\xff"+fenceContext), v.key...))
}

func (v fenceVerifier) Verify(text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize || len(v.key) != ed25519.PublicKeySize {
		return false
	}
	return ed25519.Verify(v.key, fencedText(binary.BigEndian.Uint64(sig), text), sig[8:])
}

// keyHash is the key id of C2SP signed-note.
func keyHash(name string, typedKey []byte) uint32 {
	h := sha256.Sum256(append([]byte(name+"\n"), typedKey...))
	return binary.BigEndian.Uint32(h[:])
}
