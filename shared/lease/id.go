package lease

import (
	"crypto/rand"
	"strings"
)

// ID names a lease: the path that issued it, a slash, and 24 random base62
// characters (143 bits), as Vault's. It is not a secret: knowing it gives no
// right.
type ID string

const (
	base62    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	randomLen = 24
)

// NewID makes an id for a lease issued by path, such as
// "database/creds/readonly".
func NewID(path string) ID {
	return ID(strings.Trim(path, "/") + "/" + RandomBase62(randomLen))
}

// Path is the id without its last element: the path that issued the lease.
func (id ID) Path() string {
	if i := strings.LastIndexByte(string(id), '/'); i >= 0 {
		return string(id[:i])
	}
	return ""
}

// RandomBase62 returns n uniformly distributed base62 characters from the
// system's random source.
func RandomBase62(n int) string {
	const limit = 256 - 256%len(base62) // bytes from here on would favour some characters
	out := make([]byte, 0, n)
	buf := make([]byte, n+n/2)
	for len(out) < n {
		rand.Read(buf) // never fails: it would end the process
		for _, b := range buf {
			if int(b) < limit && len(out) < n {
				out = append(out, base62[int(b)%len(base62)])
			}
		}
	}
	return string(out)
}
