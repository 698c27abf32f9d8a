package mount

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/lease"
)

// Settings are what the store keeps of every mount.
type Settings struct {
	Type        string            `json:"type"`
	Accessor    string            `json:"accessor"`
	Description string            `json:"description,omitempty"`
	DefaultTTL  time.Duration     `json:"default_lease_ttl,omitempty"`
	MaxTTL      time.Duration     `json:"max_lease_ttl,omitempty"`
	Options     map[string]string `json:"options,omitempty"`
	Local       bool              `json:"local,omitempty"`
	SealWrap    bool              `json:"seal_wrap,omitempty"`
}

// TTLs is the mount's level of limits.
func (s *Settings) TTLs() lease.TTLs { return lease.TTLs{Default: s.DefaultTTL, Max: s.MaxTTL} }

// Read takes what f, the body of a request to enable, says beside the type, and
// returns its config.
func (s *Settings) Read(f wire.Fields) (config wire.Fields, err error) {
	if s.Description, err = f.String("description"); err != nil {
		return nil, err
	}
	if s.Options, err = f.StringMap("options"); err != nil {
		return nil, err
	}
	if s.Local, err = f.Bool("local", false); err != nil {
		return nil, err
	}
	if s.SealWrap, err = f.Bool("seal_wrap", false); err != nil {
		return nil, err
	}
	return f.Object("config")
}

// NewAccessor makes the accessor of a mount of that kind.
func NewAccessor(kind string) string {
	var id [4]byte
	rand.Read(id[:]) // never fails: it ends the process
	return kind + "_" + hex.EncodeToString(id[:])
}

// Limit sets the limits that f names: "" leaves one as it is, "system" unsets it.
func (s *Settings) Limit(f wire.Fields) error {
	for name, to := range map[string]*time.Duration{"default_lease_ttl": &s.DefaultTTL, "max_lease_ttl": &s.MaxTTL} {
		text, err := f.String(name)
		switch {
		case err != nil:
			return err
		case text == "":
		case text == "system":
			*to = 0
		default:
			if *to, err = f.Duration(name); err != nil {
				return err
			}
		}
	}
	if s.MaxTTL > 0 && s.DefaultTTL > s.MaxTTL {
		return wire.Invalid("lease TTL too large: default_lease_ttl %s is above max_lease_ttl %s",
			lease.Short(s.DefaultTTL), lease.Short(s.MaxTTL))
	}
	return nil
}

// Describe sets the description where f names one.
func (s *Settings) Describe(f wire.Fields) (err error) {
	if f.Has("description") {
		s.Description, err = f.String("description")
	}
	return err
}

// Configured shows the limits that were set at the mount itself; 0: none.
func (s *Settings) Configured() map[string]any { return limits(s.DefaultTTL, s.MaxTTL) }

// Effective shows the limits that count for a role without any of its own.
func (s *Settings) Effective(system lease.TTLs) map[string]any {
	grant := lease.Limits{Mount: s.TTLs(), System: system}.Issue(0)
	return limits(grant.TTL, grant.Max)
}

func limits(def, most time.Duration) map[string]any {
	return map[string]any{
		"default_lease_ttl": wire.Seconds(def), "max_lease_ttl": wire.Seconds(most), "force_no_cache": false,
	}
}

// Shape is the mount as look-ups show it; version is the program's.
func (s *Settings) Shape(id, version string, config map[string]any) map[string]any {
	var options any
	if s.Options != nil {
		options = s.Options
	}
	return map[string]any{
		"accessor": s.Accessor, "config": config, "description": s.Description, "external_entropy_access": false,
		"local": s.Local, "options": options, "plugin_version": "",
		"running_plugin_version": "v" + cmp.Or(version, "0.0.0") + "+builtin.curfew", "running_sha256": "",
		"seal_wrap": s.SealWrap, "type": s.Type, "uuid": id,
	}
}

// Tuned is the answer to a question for the settings that can be tuned; limits
// are those to be shown.
func (s *Settings) Tuned(limits map[string]any) *wire.Answer {
	limits["description"] = s.Description
	if s.Options != nil {
		limits["options"] = s.Options
	}
	answer := wire.OK(limits)
	answer.Doubled = true
	return answer
}
