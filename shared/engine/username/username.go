package username

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxLen is the length in bytes of the longest name.
	MaxLen = len("v-") + partLen + len("-") + partLen + len("-") + markLen + len("-") + timeLen

	partLen = 8
	hashLen = 12 // 60 bits
	tagLen  = 7  // 35 bits
	markLen = hashLen + 1 + tagLen
	timeLen = 11 // enough until the year 5138

	maxUnix = 99_999_999_999

	// blank stands where nothing is left of a display name or role, since an
	// empty part would put two hyphens in a row.
	blank = "x"

	alphabet = "abcdefghijklmnopqrstuvwxyz234567"
)

// Domains keep the uses of a hash apart from each other and from any other
// use of the same key.
const (
	leaseDomain = "curfew lease name v1"
	tagDomain   = "curfew account tag v1"

	templateDomain = "curfew templated account tag v1"
)

// Namer names accounts and recognises its own names. Make one with [New].
type Namer struct {
	installation string
	keys         map[byte][]byte
	current      byte
	shape, group *regexp.Regexp
	encoding     *base32.Encoding
}

// Mark is what a recognised name tells.
type Mark struct {
	// LeaseHash equals [LeaseHash] of the id of the lease that the account
	// belongs to.
	LeaseHash string
	// KeyID is the naming key under which the name was made.
	KeyID byte
	// CreatedAt is when the name was made, to the second, in UTC.
	CreatedAt time.Time
}

// New returns a Namer for the installation. Names made under any of the keys
// are recognised; the key with the id current makes new ones. The key material
// is copied.
func New(installation string, keys []Key, current byte) (*Namer, error) {
	if installation == "" {
		return nil, errors.New("make namer: the installation id is empty")
	}
	n := &Namer{
		installation: installation,
		keys:         make(map[byte][]byte, len(keys)),
		current:      current,
		shape:        regexp.MustCompile(shape),
		group:        regexp.MustCompile(groupShape),
		encoding:     encoding(),
	}
	for _, k := range keys {
		if err := k.validate(); err != nil {
			return nil, fmt.Errorf("make namer: %w", err)
		}
		if _, taken := n.keys[k.ID]; taken {
			return nil, fmt.Errorf("make namer: naming key %q is given twice", k.ID)
		}
		n.keys[k.ID] = slices.Clone(k.Secret)
	}
	if _, known := n.keys[current]; !known {
		return nil, fmt.Errorf("make namer: the current naming key %q is not among the keys %q",
			current, slices.Sorted(maps.Keys(n.keys)))
	}
	return n, nil
}

// Name returns the account name of a lease: the same for the same arguments,
// and valid for every display name and role. A time outside the years 1970 to
// 5138 is moved to the nearer end.
func (n *Namer) Name(display, role, leaseID string, at time.Time) string {
	unix := strconv.FormatInt(min(max(at.Unix(), 0), maxUnix), 10)
	head := "v-" + part(display) + "-" + part(role) + "-" + n.leaseHash(leaseID) + string(n.current)
	return head + n.tag(tagDomain, n.keys[n.current], head, unix) + "-" + unix
}

// Recognise reports whether this installation made the name, and what the name
// tells. It takes any bytes, of any length.
func (n *Namer) Recognise(name string) (Mark, bool) {
	if m, ok := n.recogniseOwn(name); ok {
		return m, true
	}
	return n.recogniseTemplated(name)
}

// recogniseOwn recognises what [Namer.Name] made.
func (n *Namer) recogniseOwn(name string) (Mark, bool) {
	if len(name) > MaxLen {
		return Mark{}, false
	}
	m := n.shape.FindStringSubmatch(name)
	if m == nil {
		return Mark{}, false
	}
	prefix, hash, keyID, tag, unix := m[1], m[2], m[3], m[4], m[5]
	key, known := n.keys[keyID[0]]
	if !known {
		return Mark{}, false
	}
	if !equal(n.tag(tagDomain, key, prefix+hash+keyID, unix), tag) {
		return Mark{}, false
	}
	seconds, err := strconv.ParseInt(unix, 10, 64)
	if err != nil {
		return Mark{}, false
	}
	return Mark{LeaseHash: hash, KeyID: keyID[0], CreatedAt: time.Unix(seconds, 0).UTC()}, true
}

// LeaseHash returns the twelve characters that stand for a lease in the name of
// its account.
func LeaseHash(leaseID string) string {
	return leaseHash(encoding(), leaseID)
}

// shape is what every name looks like. Parts may hold hyphens, so the border
// between display name and role cannot be told; nobody needs it.
const shape = `^(v-[a-z0-9][a-z0-9-]{0,7}-[a-z0-9][a-z0-9-]{0,7}-)` +
	`([a-z2-7]{12})([a-z2-7])([a-z2-7]{7})-(0|[1-9][0-9]{0,10})$`

func (n *Namer) leaseHash(leaseID string) string { return leaseHash(n.encoding, leaseID) }

func leaseHash(enc *base32.Encoding, leaseID string) string {
	h := sha256.New()
	writeField(h, leaseDomain)
	writeField(h, leaseID)
	return enc.EncodeToString(h.Sum(nil))[:hashLen]
}

// tag covers all that surrounds it: head is what stands before the tag, after
// what stands after it.
func (n *Namer) tag(domain string, key []byte, head, after string) string {
	h := hmac.New(sha256.New, key)
	writeField(h, domain)
	writeField(h, n.installation)
	writeField(h, head)
	writeField(h, after)
	return n.encoding.EncodeToString(h.Sum(nil))[:tagLen]
}

func equal(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }

// writeField puts the length before the bytes: without it, characters could move from
// one field to its neighbour under the same tag.
func writeField(h interface{ Write([]byte) (int, error) }, field string) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(field)))
	_, _ = h.Write(size[:]) // a hash never fails
	_, _ = h.Write([]byte(field))
}

func encoding() *base32.Encoding {
	return base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)
}

// part is what the names of Curfew's own making hold of what people and paths
// chose.
func part(s string) string { return mapped(s, partLen) }

// mapped maps what people and paths chose to at most so many characters of
// [a-z0-9] with single hyphens between them.
func mapped(s string, most int) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() == most {
			break
		}
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			b.WriteRune(r)
		case 'A' <= r && r <= 'Z':
			b.WriteRune(r - 'A' + 'a')
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	if p := strings.TrimRight(b.String(), "-"); p != "" {
		return p
	}
	return blank
}
