package wire

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/curfew-project/curfew/shared/secret"
)

// Answer is what a handler has to say. The zero value says "done" and becomes
// 200 with an empty envelope; see [NoContent] for 204.
type Answer struct {
	Status    int // 0: 200
	LeaseID   string
	Renewable bool
	Duration  time.Duration // to the nearest second on the wire
	Data      map[string]any
	Warnings  []string
	Auth      *Auth
	// Wrap, if set, is all that the client gets: where the answer is kept.
	Wrap *Wrap
	// Issued is the id of the lease, also that of a token, which this answer
	// hands out; not on the wire.
	Issued string
	// Accessor names what this answer hands out, where that is no token but has
	// one; told beside a wrapping token.
	Accessor string
	// Doubled puts the keys of Data at the top level too, as stock servers do
	// for some paths below sys/.
	Doubled bool
	// Bare, if set, is the whole body, without an envelope.
	Bare any
	// Location, if set, is where the outcome can be read later.
	Location string
	// Recorded: the request's event is already committed (D6).
	Recorded bool
	// Undelivered, if set, is called when the answer could not be written (A8).
	// It must not follow the client's context.
	Undelivered func(context.Context) error
}

// Auth is the part of an answer that hands out or prolongs a token.
type Auth struct {
	Token     secret.Value
	Accessor  string
	Policies  []string
	Metadata  map[string]string
	Duration  time.Duration
	Renewable bool
	Orphan    bool
	NumUses   int
}

// Wrap is the part of an answer that hands out a wrapping token.
type Wrap struct {
	Token           secret.Value
	Accessor        string
	TTL             time.Duration
	CreatedAt       time.Time
	Path            string // of the request whose answer it is
	WrappedAccessor string // of the token or secret id inside, if there is one
}

// NoContent is the answer 204 without a body.
func NoContent() *Answer { return &Answer{Status: http.StatusNoContent} }

// Done is [NoContent] to a request whose event is committed already.
func Done() *Answer { return &Answer{Status: http.StatusNoContent, Recorded: true} }

// OK is an answer with data.
func OK(data map[string]any) *Answer { return &Answer{Data: data} }

// Code is the HTTP status of the answer.
func (a *Answer) Code() int {
	if a.Status == 0 {
		return http.StatusOK
	}
	return a.Status
}

// Bodiless reports whether the status forbids or goes without a body.
func (a *Answer) Bodiless() bool {
	return a.Status == http.StatusNoContent ||
		a.Status == http.StatusAccepted && a.Data == nil && a.Bare == nil && len(a.Warnings) == 0
}

// envelope is the answer's frame; the order of its fields is that of the wire.
type envelope struct {
	RequestID     string         `json:"request_id"`
	LeaseID       string         `json:"lease_id"`
	Renewable     bool           `json:"renewable"`
	LeaseDuration int64          `json:"lease_duration"`
	Data          map[string]any `json:"data"`
	WrapInfo      *wrapInfo      `json:"wrap_info"`
	Warnings      []string       `json:"warnings"`
	Auth          *auth          `json:"auth"`
}

type auth struct {
	ClientToken    string            `json:"client_token"`
	Accessor       string            `json:"accessor"`
	Policies       []string          `json:"policies"`
	TokenPolicies  []string          `json:"token_policies"`
	Metadata       map[string]string `json:"metadata"`
	LeaseDuration  int64             `json:"lease_duration"`
	Renewable      bool              `json:"renewable"`
	EntityID       string            `json:"entity_id"`
	TokenType      string            `json:"token_type"`
	Orphan         bool              `json:"orphan"`
	MFARequirement *struct{}         `json:"mfa_requirement"`
	NumUses        int               `json:"num_uses"`
}

type wrapInfo struct {
	Token           string `json:"token"`
	Accessor        string `json:"accessor"`
	TTL             int64  `json:"ttl"`
	CreationTime    string `json:"creation_time"`
	CreationPath    string `json:"creation_path"`
	WrappedAccessor string `json:"wrapped_accessor,omitempty"`
}

// Body is the JSON of the answer to the request requestID; nil where there is
// none.
func (a *Answer) Body(requestID string) ([]byte, error) {
	if a.Bodiless() {
		return nil, nil
	}
	if a.Bare != nil {
		return encode(a.Bare)
	}
	if a.Wrap != nil {
		return encode(envelope{WrapInfo: a.Wrap.wire()}) // as on stock servers, without the request's id
	}
	frame, err := encode(envelope{
		RequestID: requestID, LeaseID: a.LeaseID, Renewable: a.Renewable, LeaseDuration: Seconds(a.Duration),
		Data: a.Data, Warnings: a.Warnings, Auth: a.Auth.wire(),
	})
	if err != nil || !a.Doubled || len(a.Data) == 0 {
		return frame, err
	}
	return double(a.Data, frame)
}

// double puts the members of data in front of those of frame.
func double(data map[string]any, frame []byte) ([]byte, error) {
	out := []byte{'{'}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		for _, part := range []any{key, data[key]} {
			text, err := encode(part)
			if err != nil {
				return nil, err
			}
			out = append(out, bytes.TrimSuffix(text, []byte("\n"))...)
			out = append(out, ':')
		}
		out[len(out)-1] = ','
	}
	return append(out, frame[1:]...), nil
}

func (w *Wrap) wire() *wrapInfo {
	return &wrapInfo{
		Token: w.Token.Reveal(), Accessor: w.Accessor, TTL: Seconds(w.TTL),
		CreationTime: w.CreatedAt.UTC().Format(time.RFC3339Nano), CreationPath: w.Path, WrappedAccessor: w.WrappedAccessor,
	}
}

func (a *Auth) wire() *auth {
	if a == nil {
		return nil
	}
	return &auth{
		ClientToken: a.Token.Reveal(), Accessor: a.Accessor,
		Policies: a.Policies, TokenPolicies: a.Policies, Metadata: a.Metadata,
		LeaseDuration: Seconds(a.Duration), Renewable: a.Renewable,
		TokenType: "service", Orphan: a.Orphan, NumUses: a.NumUses,
	}
}

// Seconds is d to the nearest second, as durations are on the wire.
func Seconds(d time.Duration) int64 { return int64(d.Round(time.Second) / time.Second) }

// Stamp is t as times are on the wire; nil for the zero time.
func Stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return b.Bytes(), nil
}
