//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"testing"

	vault "github.com/hashicorp/vault/api"
	bao "github.com/openbao/openbao/api/v2"
)

// client is what the stories need of a client library; both have it.
type client interface {
	// as is the same client with another token.
	as(tb testing.TB, token string) client

	// wrapping is the same client, whose answers come in wrapping tokens.
	wrapping(tb testing.TB, ttl string) client
	unwrap(token string) (*answer, error)

	mount(path, kind string) error
	mounts() (map[string]mounted, error)
	tune(path, defaultTTL, maxTTL string) error
	unmount(path string) error

	write(path string, data map[string]any) (*answer, error)
	read(path string) (*answer, error)
	list(path string) (*answer, error)
	remove(path string) error

	lookup(leaseID string) (*answer, error)
	renew(leaseID string, increment int) (*answer, error)
	revoke(leaseID string, sync bool) error
	revokePrefix(prefix string, sync bool) error

	putPolicy(name, rules string) error
	createToken(name, ttl string, policies ...string) (*answer, error)
	lookupSelf() (*answer, error)
	revokeToken(token string) error

	// logIn logs in by the library's own helper for AppRole. Its watchers keep
	// the token, and the lease of what obtain reads.
	logIn(tb testing.TB, roleID, secretID string) (client, *watcher)
	obtain(tb testing.TB, path string) (*answer, *watcher)

	health() (initialized, sealed bool, version string, err error)
	sealStatus() (kind string, sealed bool, err error)
}

// mounted is a mount as a client sees it.
type mounted struct {
	Type, Accessor  string
	Default, Max    int // seconds
	Version, UUID   string
	Description     string
	RunningVersion  string
	ExternalEntropy bool
}

// answer is a Secret of either library.
type answer struct {
	RequestID, LeaseID string
	Duration           int // seconds
	Renewable          bool
	Data               map[string]any
	Warnings           []string
	Token, Accessor    string // of auth
	TokenDuration      int
	Wrap, WrapAccessor string // the wrapping token, where the answer is in one
}

func (a *answer) text(key string) string { return fmt.Sprint(a.Data[key]) }

// keys are those of a list.
func (a *answer) keys() []string {
	var out []string
	if a == nil {
		return nil
	}
	list, _ := a.Data["keys"].([]any)
	for _, key := range list {
		out = append(out, fmt.Sprint(key))
	}
	return out
}

// clients makes a client of each library for a server.
func clients() map[string]func(testing.TB, *curfew) client {
	return map[string]func(testing.TB, *curfew) client{"vault": newVault, "openbao": newBao}
}

// statusOf is the HTTP status in an error of either library; 0: none.
func statusOf(err error) int {
	var v *vault.ResponseError
	var b *bao.ResponseError
	switch {
	case errors.As(err, &v):
		return v.StatusCode
	case errors.As(err, &b):
		return b.StatusCode
	}
	return 0
}
