package sink

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/device"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

// A line is what parsers of stock audit files expect; the order of the fields is
// that of the file.
type line struct {
	Time     string    `json:"time"`
	Type     string    `json:"type"`
	Auth     *auth     `json:"auth,omitempty"`
	Request  request   `json:"request"`
	Response *response `json:"response,omitempty"`
	Error    string    `json:"error,omitempty"`
	// Curfew is what stock lines do not have; their parsers pass it over.
	Curfew about `json:"curfew"`
}

const (
	asked    = "request"
	answered = "response"
)

type auth struct {
	ClientToken   string   `json:"client_token,omitempty"`
	Accessor      string   `json:"accessor,omitempty"`
	DisplayName   string   `json:"display_name,omitempty"`
	Policies      []string `json:"policies,omitempty"`
	TokenPolicies []string `json:"token_policies,omitempty"`
	TokenType     string   `json:"token_type,omitempty"`
}

type namespace struct {
	ID string `json:"id"`
}

type request struct {
	ID                  string            `json:"id"`
	Operation           string            `json:"operation"`
	MountPoint          string            `json:"mount_point,omitempty"`
	MountType           string            `json:"mount_type,omitempty"`
	ClientToken         string            `json:"client_token,omitempty"`
	ClientTokenAccessor string            `json:"client_token_accessor,omitempty"`
	Namespace           namespace         `json:"namespace"`
	Path                string            `json:"path"`
	Data                map[string]string `json:"data,omitempty"`
	RemoteAddress       string            `json:"remote_address,omitempty"`
}

type response struct {
	MountPoint string            `json:"mount_point,omitempty"`
	MountType  string            `json:"mount_type,omitempty"`
	Auth       *auth             `json:"auth,omitempty"`
	Secret     *granted          `json:"secret,omitempty"`
	Data       map[string]string `json:"data,omitempty"`
}

type granted struct {
	LeaseID lease.ID `json:"lease_id"`
}

// about is the event that a line was made of.
type about struct {
	Event           string      `json:"event"` // its id: with the line's type, what duplicates are told by
	EventType       event.Type  `json:"event_type"`
	RequestID       string      `json:"request_id,omitempty"` // of the API's request that caused it
	LeaseID         lease.ID    `json:"lease_id,omitempty"`
	Version         int64       `json:"version,omitempty"`
	State           lease.State `json:"state,omitempty"`
	Role            string      `json:"role,omitempty"`
	Target          string      `json:"target,omitempty"`
	Status          int         `json:"status,omitempty"` // HTTP
	Count           int         `json:"count,omitempty"`  // requests that the line stands for
	Fields          []string    `json:"fields,omitempty"` // names of what was sent
	Reason          string      `json:"reason,omitempty"`
	ExpiresAt       *time.Time  `json:"expires_at,omitempty"`
	DisabledAt      *time.Time  `json:"disabled_at,omitempty"`
	SessionsEndedAt *time.Time  `json:"sessions_ended_at,omitempty"`
	EndedAt         *time.Time  `json:"ended_at,omitempty"`
	Attempts        int         `json:"attempts,omitempty"`
	Parked          bool        `json:"parked,omitempty"`
}

// scribe writes the lines of one device.
type scribe struct {
	hash           func(string) string
	plainAccessors bool
}

// lines are those of an event, none for one that others stand for: see the
// package comment. The same event has the same lines whenever it is asked.
func (s *scribe) lines(e event.Event) ([]byte, error) {
	var all []line
	switch e.Type {
	case event.LeaseIntent, event.LeaseCreated, event.LeaseRenewed, event.LeaseProgress, event.TokenUsed:
		return nil, nil
	case event.TokenCreated, event.TokenRenewed, event.TokenRewrapped, event.ConfigChanged, event.InstallationConfirmed:
		if e.Data.Actor.RequestID != "" {
			return nil, nil // the request's own event shares the commit
		}
		all = []line{s.system(e)}
	case event.RequestServed, event.RequestDenied:
		all = s.exchange(e)
	case event.LeaseRevoking, event.TokenRevoking, event.AccountStray:
		all = []line{s.revocation(e, asked)}
	case event.LeaseRevocationFailed, event.LeaseRevoked, event.LeaseExpired, event.LeaseAbandoned, event.LeaseRolledBack, event.TokenRevoked:
		all = []line{s.revocation(e, answered)}
	case event.LeaseRestored, event.SystemStarted, event.StoreSuspended, event.StoreResumed, event.InstallationDoubted,
		event.AccountRotated, event.AccountRotationFailed,
		event.GroupMade, event.GroupRefreshed, event.GroupDropped, event.GroupFailed:
		all = []line{s.system(e)}
	default: // of a later version, or unreadable
		all = []line{s.system(e)}
	}
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	for i := range all {
		if err := j.Encode(&all[i]); err != nil {
			return nil, fmt.Errorf("write the line of event %s: %w", e.Position, err)
		}
	}
	return b.Bytes(), nil
}

// exchange are the lines of a request to the API: what was asked, and what was
// answered. Counted ones were refused before anybody read what they ask.
func (s *scribe) exchange(e event.Event) []line {
	d := &e.Data
	first := s.frame(e, asked)
	first.Auth = s.caller(d)
	first.Request = request{
		ID: d.Actor.RequestID, Operation: operation(d.Operation), Namespace: namespace{"root"},
		Path: d.Path, RemoteAddress: d.Actor.Address,
	}
	first.Request.MountPoint, first.Request.MountType = mountOf(d)
	if first.Auth != nil {
		first.Request.ClientToken, first.Request.ClientTokenAccessor = first.Auth.ClientToken, first.Auth.Accessor
	}
	first.Error = failure(d.Status)
	first.Curfew.Status, first.Curfew.Count, first.Curfew.Fields = d.Status, d.Count, d.Fields
	if d.Count > 0 {
		return []line{first}
	}
	second := first
	second.Type = answered
	second.Response = &response{MountPoint: first.Request.MountPoint, MountType: first.Request.MountType}
	s.grant(second.Response, d)
	return []line{first, second}
}

// grant says what an answer hands out.
func (s *scribe) grant(r *response, d *event.Data) {
	switch {
	case d.Granted == "":
	case isToken(d.Granted):
		r.Auth = &auth{ClientToken: s.hash(device.TokenMark(d.Granted)), Accessor: s.accessor(d.Account), TokenType: "service"}
	default:
		r.Secret = &granted{LeaseID: d.Granted}
		r.Data = s.account(d.Granted, d.Account)
	}
}

// revocation is a line of the end of a lease, in the shape of the request that
// would ask for it: its beginning is asked, its outcome answered. The two share
// an id that follows from the lease's.
func (s *scribe) revocation(e event.Event, kind string) line {
	d := &e.Data
	l := s.frame(e, kind)
	l.Auth = s.actor(d.Actor)
	l.Request = request{
		ID: revocationID(d.LeaseID), Operation: "revoke", MountPoint: "sys/", MountType: "system", Namespace: namespace{"root"},
		Path: "sys/leases/revoke/" + string(d.LeaseID), Data: s.account(d.LeaseID, d.Account), RemoteAddress: d.Actor.Address,
	}
	if kind == answered {
		l.Response = &response{MountPoint: "sys/", MountType: "system", Secret: &granted{LeaseID: d.LeaseID}}
	}
	if e.Type == event.LeaseRevocationFailed {
		l.Error = cmp.Or(s.scrub(d.Error, d), "the revocation failed and is tried again")
	}
	if e.Type == event.LeaseAbandoned {
		l.Error = "abandoned: that the access is gone was not proved"
	}
	l.Curfew.RequestID = d.Actor.RequestID
	l.Curfew.LeaseID, l.Curfew.Version, l.Curfew.State = d.LeaseID, d.Version, d.State
	l.Curfew.Role, l.Curfew.Target = d.Role, d.Target
	l.Curfew.ExpiresAt, l.Curfew.DisabledAt, l.Curfew.SessionsEndedAt, l.Curfew.EndedAt = d.ExpiresAt, d.DisabledAt, d.SessionsEndedAt, d.EndedAt
	l.Curfew.Attempts, l.Curfew.Parked = d.Attempts, d.Parked
	return l
}

// system is the line of what no request asked for.
func (s *scribe) system(e event.Event) line {
	d := &e.Data
	l := s.frame(e, asked)
	l.Auth = s.actor(d.Actor)
	path := cmp.Or(d.Path, e.Subject)
	if isToken(d.LeaseID) {
		path = strings.TrimSuffix(path, "/"+device.TokenMark(d.LeaseID))
	}
	l.Request = request{ID: e.Position.String(), Operation: operation(d.Operation), Namespace: namespace{"root"}, Path: path, RemoteAddress: d.Actor.Address}
	l.Request.MountPoint, l.Request.MountType = mountOf(&event.Data{Path: path})
	l.Curfew.RequestID, l.Curfew.LeaseID, l.Curfew.Version, l.Curfew.State = d.Actor.RequestID, d.LeaseID, d.Version, d.State
	return l
}

func (s *scribe) frame(e event.Event, kind string) line {
	return line{
		Time: e.Time.UTC().Format(time.RFC3339Nano), Type: kind,
		Curfew: about{Event: e.Position.String(), EventType: e.Type, Reason: s.scrub(e.Data.Reason, &e.Data)},
	}
}

// caller is who sent a request; nil where nobody knows.
func (s *scribe) caller(d *event.Data) *auth {
	a := s.actor(d.Actor)
	if a == nil || d.TokenID == "" {
		return a
	}
	a.ClientToken, a.TokenType = s.hash(device.TokenMark(d.TokenID)), "service"
	a.Policies, a.TokenPolicies = d.Policies, d.Policies
	return a
}

// actor is who did something. Whatever is not known to be a name of the system's
// own is an accessor.
func (s *scribe) actor(a lease.Actor) *auth {
	switch {
	case a.Name == "" || a.Name == "unauthenticated" || a.Name == "login":
		return nil
	case strings.HasPrefix(a.Name, "system:"):
		return &auth{DisplayName: a.Name}
	}
	return &auth{Accessor: s.accessor(a.Name), DisplayName: a.DisplayName}
}

func (s *scribe) accessor(text string) string {
	if s.plainAccessors {
		return text
	}
	return s.hash(text)
}

// account is the account of a lease: a user name, or the accessor of a token.
func (s *scribe) account(id lease.ID, account string) map[string]string {
	switch {
	case account == "":
		return nil
	case isToken(id):
		return map[string]string{"accessor": s.accessor(account)}
	}
	return map[string]string{"username": s.hash(account)}
}

// scrub takes the name of the account out of a text for people.
func (s *scribe) scrub(text string, d *event.Data) string {
	if d.Account == "" {
		return text
	}
	return strings.ReplaceAll(text, d.Account, s.hash(d.Account))
}

// isToken reports whether a lease is a token's: no secret engine is below auth/.
func isToken(id lease.ID) bool { return strings.HasPrefix(string(id), "auth/") }

// operation is the name that stock lines have for an operation. Whether a write
// creates or updates is not on record.
func operation(op string) string {
	switch op {
	case "write", "":
		return "update"
	}
	return op
}

// mountOf is the mount that serves the path of a request.
func mountOf(d *event.Data) (point, kind string) {
	switch {
	case strings.HasPrefix(d.Path, "sys/"):
		return "sys/", "system"
	case strings.HasPrefix(d.Path, "auth/token/"):
		return "auth/token/", "token"
	case d.Mount != "" && strings.HasPrefix(d.Path, "auth/") && !strings.HasPrefix(d.Mount, "auth/"):
		return "auth/" + d.Mount, d.MountType
	}
	return d.Mount, d.MountType
}

// failure is the error of an answer. Texts of errors are on no record.
func failure(status int) string {
	switch {
	case status < http.StatusBadRequest:
		return ""
	case status == http.StatusForbidden:
		return "permission denied"
	}
	return strings.ToLower(http.StatusText(status))
}

// revocationID is the id of the revocation of a lease, in the form of a UUID
// (RFC 9562, version 8).
func revocationID(id lease.ID) string {
	b := sha256.Sum256([]byte("curfew revocation of " + string(id)))
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
