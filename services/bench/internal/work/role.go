package work

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/bare"
	"github.com/curfew-project/curfew/services/bench/internal/site"
)

// variant is a kind of role.
type variant struct {
	name       string
	creation   []string
	iterations int
	drop       func(string) string
	writers    int // of the bare program: more than one where hashing dominates
	most       int // accounts of one run: direct grants get slower with each
}

const create = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`

func variants() []variant {
	member := []string{create, `GRANT ` + site.Readers + ` TO "{{name}}"`}
	direct := []string{
		create, `GRANT USAGE ON SCHEMA ` + site.Schema + ` TO "{{name}}"`,
		`GRANT SELECT ON ALL TABLES IN SCHEMA ` + site.Schema + ` TO "{{name}}"`,
	}
	return []variant{
		{"member", member, 1, bare.Drop, 1, 0},
		{"member-4096", member, 4096, bare.Drop, 4, 0},
		{"tables", direct, 1, bare.DropGranted, 1, 300},
	}
}

// Variants names the kinds of roles: membership in a group with one iteration of
// SCRAM, with the default 4,096, and a SELECT on each of 20 tables (with one).
func Variants() (names []string) {
	for _, v := range variants() {
		names = append(names, v.name)
	}
	return names
}

// lease is one that was issued.
type lease struct {
	id, user string
	due      time.Time
}

// long is a TTL that no run outlasts.
const long = 24 * time.Hour

// role writes a role with a TTL, once, and returns its name.
func (b *Bench) role(ctx context.Context, v variant, ttl time.Duration) (string, error) {
	name := fmt.Sprintf("%s-%d", v.name, int(ttl.Seconds()))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.roles[name] {
		return name, nil
	}
	return name, b.writeRole(ctx, name, connection, v, ttl)
}

// writeRole writes a role of a connection.
func (b *Bench) writeRole(ctx context.Context, name, of string, v variant, ttl time.Duration) error {
	_, err := b.api.Do(ctx, http.MethodPost, mount+"/roles/"+name, map[string]any{
		"db_name": of, "creation_statements": v.creation, "scram_iterations": v.iterations,
		"default_ttl": int(ttl.Seconds()), "max_ttl": int(long.Seconds()),
	})
	if err != nil {
		return fmt.Errorf("write a role: %w", err)
	}
	b.roles[name] = true
	return nil
}

// issue makes a credential.
func (b *Bench) issue(ctx context.Context, role string) (lease, error) {
	a, err := b.api.Do(ctx, http.MethodGet, mount+"/creds/"+role, nil)
	return lease{id: a.LeaseID, user: a.Data.Username}, err
}

// stock issues n credentials.
func (b *Bench) stock(ctx context.Context, role string, n int) ([]lease, error) {
	return b.fill(ctx, n, func() (string, error) { return role, nil })
}
