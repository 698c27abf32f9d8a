package request

import (
	"crypto/rand"
	"encoding/hex"
	"maps"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// Request is one request to the API.
type Request struct {
	ID        string // shared by answer, log and event
	Operation engine.Operation
	Path      string // below /v1/, without slashes at its ends
	Mount     string // path of the mount it belongs to, once known
	MountType string // the type of that mount
	Data      map[string]any
	After     string // pages a List
	Limit     int
	// WrapTTL is how long a wrapping token holds the answer; 0: it is not wrapped.
	WrapTTL time.Duration
	Actor   lease.Actor
	Caller  Caller
	// Sudo: the policies give sudo on the path. Own: they do not allow it, but
	// the caller's own leases are its to look at and to end.
	Sudo, Own bool
}

// Help is the operation of a request that asks what a path is for. It is the
// API's own: no engine sees it.
const Help engine.Operation = "help"

// AsksHelp reports whether h asks what its path is for, as stock clients do.
func AsksHelp(h *http.Request) bool {
	return h.Method == http.MethodGet && h.URL.RawQuery != "" && h.URL.Query().Get("help") != ""
}

// Caller is the token that a request came with.
type Caller struct {
	Lease    lease.Lease
	Text     secret.Value
	Policies []string // their names, in order
	// Cached: Lease is as it was a second ago at most (D7).
	Cached bool
}

// UsedUp reports whether the request is the last use of its token: that is in
// revoking already, and nothing can be issued to it any more.
func (c *Caller) UsedUp() bool { return c.Lease.Kind == lease.Token && c.Lease.State == lease.Revoking }

// Fields reads the values that were sent.
func (r *Request) Fields() wire.Fields { return r.Data }

// NewID returns a random UUID (RFC 9562, version 4).
func NewID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: it ends the process
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	text := make([]byte, 0, 36)
	for i, part := range [][]byte{b[:4], b[4:6], b[6:8], b[8:10], b[10:]} {
		if i > 0 {
			text = append(text, '-')
		}
		text = hex.AppendEncode(text, part)
	}
	return string(text)
}

// Address is the IP address that the request came from.
func Address(h *http.Request) string {
	host, _, err := net.SplitHostPort(h.RemoteAddr)
	if err != nil {
		return h.RemoteAddr
	}
	return host
}

// Token is the token that h bears, empty where it bears none.
func Token(h *http.Request) secret.Value {
	if t := h.Header.Get("X-Vault-Token"); t != "" {
		return secret.New(strings.TrimSpace(t))
	}
	scheme, t, ok := strings.Cut(h.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return secret.Value{}
	}
	return secret.New(strings.TrimSpace(t))
}

// Refused says why h asks for something that this server does not do and must
// not ignore: an answer in another namespace is not what was asked for.
func Refused(h *http.Request) error {
	switch ns := strings.Trim(h.Header.Get("X-Vault-Namespace"), "/"); ns {
	case "", "root":
	default:
		return wire.Invalid("namespaces are not supported: leave X-Vault-Namespace empty")
	}
	return nil
}

// WrapTTL is how long h wants its answer wrapped; 0: not at all.
func WrapTTL(h *http.Request) (time.Duration, error) {
	text := h.Header.Get("X-Vault-Wrap-TTL")
	if text == "" {
		return 0, nil
	}
	ttl, err := wire.ParseDuration(text)
	if err != nil || ttl < 0 {
		return 0, wire.Invalid("X-Vault-Wrap-TTL: %q is no duration such as 60s", text)
	}
	return ttl.Truncate(time.Second), nil
}

// Read makes the request of h; path is what [Path] made of its URL. The body
// is bounded by whoever calls. With an error the request is as far as it could
// be read, for its record.
func Read(h *http.Request, path string) (*Request, error) {
	r := &Request{Path: path}
	query := h.URL.Query()
	var err error
	if r.Operation, err = operation(h, query.Get("list")); err != nil {
		r.Operation = Attempted(h)
		return r, err
	}
	switch r.Operation {
	case engine.Write:
		r.Data, err = wire.Decode(h.Body)
	case engine.List:
		err = r.page(query.Get("after"), query.Get("limit"))
		query.Del("after")
		query.Del("limit")
		fallthrough
	case engine.Read, engine.Delete:
		query.Del("list")
		r.Data = values(query)
	}
	return r, err
}

// Attempted is the operation that h asks for, as far as its method says; for
// the record of a request that is refused before it is read.
func Attempted(h *http.Request) engine.Operation {
	const longest = 16 // clients choose the method
	op, err := operation(h, h.URL.Query().Get("list"))
	if err != nil {
		return engine.Operation(strings.ToLower(h.Method[:min(len(h.Method), longest)]))
	}
	return op
}

func operation(h *http.Request, list string) (engine.Operation, error) {
	switch h.Method {
	case http.MethodPut, http.MethodPost:
		return engine.Write, nil
	case http.MethodDelete:
		return engine.Delete, nil
	case "LIST":
		return engine.List, nil
	case http.MethodGet:
		if AsksHelp(h) {
			return Help, nil
		}
		if list == "" {
			return engine.Read, nil
		}
		want, err := strconv.ParseBool(strings.ToLower(list))
		switch {
		case err != nil:
			return "", wire.Invalid("error converting input for field %q: %q is neither true nor false", "list", list)
		case want:
			return engine.List, nil
		}
		return engine.Read, nil
	case http.MethodPatch:
		// Stock servers look at the type first, and say so.
		if _, _, err := mime.ParseMediaType(h.Header.Get("Content-Type")); err != nil {
			return "", wire.Invalid("%v", err)
		}
	}
	return "", wire.UnsupportedOperation()
}

func (r *Request) page(after, limit string) error {
	r.After = after
	if limit == "" {
		return nil
	}
	n, err := strconv.Atoi(limit)
	if err != nil || n < -1 {
		return wire.Invalid("error converting input for field %q: %q is not a whole number", "limit", limit)
	}
	r.Limit = max(n, 0) // -1 means all to stock clients
	return nil
}

func values(query map[string][]string) map[string]any {
	data := make(map[string]any, len(query))
	for name, v := range query {
		if len(v) == 1 {
			data[name] = v[0]
		} else {
			data[name] = v
		}
	}
	return data
}

// names are the names of the fields that were sent, in order; long ones and
// long lists are cut, since a client chooses them.
func (r *Request) names() []string { return some(slices.Sorted(maps.Keys(r.Data))) }

// some are names that others choose, bounded for the record.
func some(names []string) []string {
	const most, longest = 32, 64
	names = slices.Clone(names)
	if len(names) > most {
		names = append(names[:most], "…")
	}
	for i, n := range names {
		if len(n) > longest {
			names[i] = strings.ToValidUTF8(n[:longest], "") + "…"
		}
	}
	return names
}

// OperationsPath is where operations on many leases can be read.
const OperationsPath = "sys/leases/operations/"

// Tracked is where the operation that the request begins can be read.
func (r *Request) Tracked() string { return Root + OperationsPath + r.ID }
