package postgres

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
)

// PasswordAuthentication says what the server is given as the password (B10).
type PasswordAuthentication string

// The values of the setting; the zero value is SCRAM.
const (
	SCRAM    PasswordAuthentication = "scram-sha-256" // a ready-made verifier
	Password PasswordAuthentication = "password"      // the password itself: the server hashes, and may log it
)

// OwnedObjects says what becomes of objects that a leased user made (C5).
type OwnedObjects string

// The values of the setting; the zero value means what the connection says.
const (
	Reassign OwnedObjects = "reassign"
	Drop     OwnedObjects = "drop"
)

func (o OwnedObjects) check() error {
	if o != "" && o != Reassign && o != Drop {
		return fmt.Errorf(`owned_objects is %q, "reassign" and "drop" are possible`, string(o))
	}
	return nil
}

// Plan is what a lease freezes about its account (A2). It holds no secret.
// Statements are texts as sqltext returns them from Sources.
type Plan struct {
	// Generation names the role entry and its revision. A new one runs alone
	// once before it shares a batch (B5).
	Generation string `json:"generation"`
	// Connection is the id of the connection, for a person who reads it.
	Connection string `json:"connection,omitempty"`

	Creation []string `json:"creation,omitempty"`
	// Group is the role of which the account is made a member, with what all of
	// its kind share; Creation is without that then, and Numbers are the places
	// that its statements had, for errors.
	Group   string `json:"group,omitempty"`
	Numbers []int  `json:"creation_numbers,omitempty"`

	Renewal    []string `json:"renewal,omitempty"`
	Revocation []string `json:"revocation,omitempty"`
	Rollback   []string `json:"rollback,omitempty"`

	Authentication PasswordAuthentication `json:"password_authentication,omitempty"`
	Iterations     int                    `json:"scram_iterations,omitempty"` // 0: 4,096

	// Databases bounds where a revocation connects to clean up; empty: every
	// database in which the catalogue names the account (C5).
	Databases    []string     `json:"databases,omitempty"`
	OwnedObjects OwnedObjects `json:"owned_objects,omitempty"`
	ReassignTo   string       `json:"reassign_owned_to,omitempty"` // "": the admin user
}

// Handle is what was seen of an account in the target. It is kept on the lease,
// and its revocation follows it (C2, C6).
type Handle struct {
	RoleOID uint32 `json:"role_oid"`
	Identity
}

// Encode returns the plan as it is kept on a lease.
func (p Plan) Encode() ([]byte, error) { return encode("plan", p) }

// Encode returns the handle as it is kept on a lease.
func (h Handle) Encode() ([]byte, error) { return encode("handle", h) }

// DecodePlan reads what [Plan.Encode] wrote.
func DecodePlan(b []byte) (Plan, error) {
	var p Plan
	if len(b) == 0 {
		return p, errors.New("read plan: the lease has none")
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("read plan: %w", err)
	}
	return p, nil
}

// DecodeHandle reads what [Handle.Encode] wrote; nothing at all is the zero
// handle of a lease that was never confirmed.
func DecodeHandle(b []byte) (Handle, error) {
	var h Handle
	if len(b) == 0 {
		return h, nil
	}
	if err := json.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("read handle: %w", err)
	}
	return h, nil
}

func encode(what string, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", what, err)
	}
	return b, nil
}

// Scripts are a plan's statements, compiled.
type Scripts struct {
	Creation, Renewal, Revocation, Rollback sqltext.Script
}

// Compile reads the statements. Errors name kind and number of the statement
// at fault and are fit for a client.
func (p Plan) Compile() (Scripts, error) {
	var s Scripts
	for _, part := range []struct {
		kind  sqltext.Kind
		texts []string
		to    *sqltext.Script
	}{
		{sqltext.Creation, p.Creation, &s.Creation},
		{sqltext.Renew, p.Renewal, &s.Renewal},
		{sqltext.Revocation, p.Revocation, &s.Revocation},
		{sqltext.Rollback, p.Rollback, &s.Rollback},
	} {
		if len(part.texts) == 0 {
			continue
		}
		script, err := sqltext.Parse(part.kind, part.texts...)
		if err != nil {
			return Scripts{}, err
		}
		*part.to = script
	}
	return s, nil
}

// Check reports what is wrong with a plan before a role is stored with it.
func (p Plan) Check() error {
	if err := p.OwnedObjects.check(); err != nil {
		return err
	}
	switch cmp.Or(p.Authentication, SCRAM) {
	case SCRAM, Password:
	default:
		return fmt.Errorf(`password_authentication is %q, "scram-sha-256" and "password" are possible`, string(p.Authentication))
	}
	if p.Iterations < 0 {
		return errors.New("scram_iterations is negative")
	}
	s, err := p.Compile()
	if err != nil {
		return err
	}
	if cmp.Or(p.Authentication, SCRAM) == SCRAM {
		return s.Creation.PasswordOnlyAsPassword()
	}
	return nil
}
