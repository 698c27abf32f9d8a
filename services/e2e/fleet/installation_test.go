//go:build e2e

package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"
)

// installation is what sys/installation says.
type installation struct {
	Suspended  bool
	Sweeping   string
	Strays     []struct{ Accounts []string }
	Recoveries []recovery
}

// recovery is the report of one.
type recovery struct {
	Epoch                        int64
	Returned, Prolonged, Revoked int
	Lost                         []struct{ What, ID, Detail string }
}

// installation reads sys/installation.
func (f *fleet) installation(tb testing.TB) installation {
	tb.Helper()
	var answer struct{ Data installation }
	eventually(tb, "read the installation", func() error {
		body, err := f.get(tb, "/v1/sys/installation")
		if err != nil {
			return err
		}
		return json.Unmarshal(body, &answer)
	})
	return answer.Data
}

// reported are all accounts that were found without a lease and left alone.
func (i installation) reported() (all []string) {
	for _, s := range i.Strays {
		all = append(all, s.Accounts...)
	}
	return all
}

// lost reports whether a recovery names a loss.
func (r *recovery) lost(what, part string) bool {
	return slices.ContainsFunc(r.Lost, func(l struct{ What, ID, Detail string }) bool {
		return l.What == what && strings.Contains(l.ID, part)
	})
}

// told is how many entries of a type the record has.
func (f *fleet) told(tb testing.TB, kind string) int {
	tb.Helper()
	var page struct{ Data struct{ Entries []entry } }
	body, err := f.get(tb, "/v1/audit/entries?"+url.Values{"type": {kind}}.Encode())
	must(tb, err, "read the record")
	must(tb, json.Unmarshal(body, &page), "read the record")
	return len(page.Data.Entries)
}

// hasty is a client that does not try again.
func (f *fleet) hasty(tb testing.TB) *vault.Client {
	tb.Helper()
	c := f.client(tb)
	c.SetMaxRetries(0)
	return c
}

// status is that of the answer to a client; 0 where there was none.
func status(err error) int {
	var answer *vault.ResponseError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &answer):
		return answer.StatusCode
	}
	return 0
}

// refused reports whether a client was told that the store is suspended (A7).
func refused(err error) bool {
	return status(err) == http.StatusServiceUnavailable && strings.Contains(err.Error(), "sys/installation")
}

// lookup is the status of a lease's lookup, and when it expires.
func (f *fleet) lookup(tb testing.TB, cred credential) (code int, ends time.Time) {
	tb.Helper()
	s, err := f.hasty(tb).Logical().Write("sys/leases/lookup", map[string]any{"lease_id": cred.lease})
	if err != nil {
		return status(err), ends
	}
	ends, err = time.Parse(time.RFC3339Nano, fmt.Sprint(s.Data["expire_time"]))
	must(tb, err, "read the expiry of "+cred.lease)
	return http.StatusOK, ends
}

// token makes one.
func (f *fleet) token(tb testing.TB) (token, accessor string) {
	tb.Helper()
	s, err := f.client(tb).Auth().Token().Create(&vault.TokenCreateRequest{TTL: "1h"})
	must(tb, err, "make a token")
	return s.Auth.ClientToken, s.Auth.Accessor
}

// stray makes an account that no lease stands for: one that was taken away, made
// again past Curfew.
func (f *fleet) stray(tb testing.TB, c *vault.Client) credential {
	tb.Helper()
	cred := f.hold(tb, c)
	f.release(tb, c, cred, true)
	conn, err := pgx.Connect(tb.Context(), f.target.URL(f.target.admin.User, f.target.admin.Password, f.target.admin.Database))
	must(tb, err, "log in as Curfew's user")
	defer closeConn(tb, conn)
	_, err = conn.Exec(tb.Context(), "CREATE ROLE "+pgx.Identifier{cred.user}.Sanitize())
	must(tb, err, "make an account")
	return cred
}
