//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	bao "github.com/openbao/openbao/api/v2"

	vault "github.com/hashicorp/vault/api"
)

// client is what the stories need of a client library; both have it.
type client interface {
	// as is the same client with another token.
	as(tb testing.TB, token string) client

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

	createToken(name, ttl string) (*answer, error)
	lookupSelf() (*answer, error)
	revokeToken(token string) error

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

// vaultClient is HashiCorp's library.
type vaultClient struct{ api *vault.Client }

func newVault(tb testing.TB, c *curfew) client {
	tb.Helper()
	config := vault.DefaultConfig()
	must(tb, config.Error, "configure the client")
	config.Address, config.MaxRetries, config.Timeout = c.url(), 0, hang
	config.HttpClient.Transport = &http.Transport{DisableKeepAlives: true} // the server is killed and comes back
	api, err := vault.NewClient(config)
	must(tb, err, "make a client")
	api.SetToken(c.root)
	return &vaultClient{api}
}

func vaultAnswer(s *vault.Secret, err error) (*answer, error) {
	if s == nil || err != nil {
		return nil, err
	}
	a := &answer{
		RequestID: s.RequestID, LeaseID: s.LeaseID, Duration: s.LeaseDuration, Renewable: s.Renewable,
		Data: s.Data, Warnings: s.Warnings,
	}
	if s.Auth != nil {
		a.Token, a.Accessor, a.TokenDuration = s.Auth.ClientToken, s.Auth.Accessor, s.Auth.LeaseDuration
	}
	return a, nil
}

func (v *vaultClient) as(tb testing.TB, token string) client {
	tb.Helper()
	api, err := v.api.Clone()
	must(tb, err, "clone the client")
	api.SetToken(token)
	return &vaultClient{api}
}

func (v *vaultClient) mount(path, kind string) error {
	return v.api.Sys().Mount(path, &vault.MountInput{Type: kind})
}

func (v *vaultClient) mounts() (map[string]mounted, error) {
	all, err := v.api.Sys().ListMounts()
	out := map[string]mounted{}
	for path, m := range all {
		out[path] = mounted{
			Type: m.Type, Accessor: m.Accessor, Default: m.Config.DefaultLeaseTTL, Max: m.Config.MaxLeaseTTL,
			Version: m.PluginVersion, UUID: m.UUID, Description: m.Description, RunningVersion: m.RunningVersion,
			ExternalEntropy: m.ExternalEntropyAccess,
		}
	}
	return out, err
}

func (v *vaultClient) tune(path, defaultTTL, maxTTL string) error {
	return v.api.Sys().TuneMount(path, vault.MountConfigInput{DefaultLeaseTTL: defaultTTL, MaxLeaseTTL: maxTTL})
}

func (v *vaultClient) unmount(path string) error { return v.api.Sys().Unmount(path) }

func (v *vaultClient) write(path string, data map[string]any) (*answer, error) {
	return vaultAnswer(v.api.Logical().Write(path, data))
}

func (v *vaultClient) read(path string) (*answer, error) {
	return vaultAnswer(v.api.Logical().Read(path))
}

func (v *vaultClient) list(path string) (*answer, error) {
	return vaultAnswer(v.api.Logical().List(path))
}

func (v *vaultClient) remove(path string) error {
	_, err := v.api.Logical().Delete(path)
	return err
}

func (v *vaultClient) lookup(leaseID string) (*answer, error) {
	return vaultAnswer(v.api.Sys().Lookup(leaseID))
}

func (v *vaultClient) renew(leaseID string, increment int) (*answer, error) {
	return vaultAnswer(v.api.Sys().Renew(leaseID, increment))
}

func (v *vaultClient) revoke(leaseID string, sync bool) error {
	return v.api.Sys().RevokeWithOptions(&vault.RevokeOptions{LeaseID: leaseID, Sync: sync})
}

func (v *vaultClient) revokePrefix(prefix string, sync bool) error {
	return v.api.Sys().RevokeWithOptions(&vault.RevokeOptions{LeaseID: prefix, Prefix: true, Sync: sync})
}

func (v *vaultClient) createToken(name, ttl string) (*answer, error) {
	return vaultAnswer(v.api.Auth().Token().Create(&vault.TokenCreateRequest{DisplayName: name, TTL: ttl}))
}

func (v *vaultClient) lookupSelf() (*answer, error) {
	return vaultAnswer(v.api.Auth().Token().LookupSelf())
}

func (v *vaultClient) revokeToken(token string) error { return v.api.Auth().Token().RevokeTree(token) }

func (v *vaultClient) health() (initialized, sealed bool, version string, err error) {
	h, err := v.api.Sys().Health()
	if err != nil {
		return false, false, "", err
	}
	return h.Initialized, h.Sealed, h.Version, nil
}

func (v *vaultClient) sealStatus() (kind string, sealed bool, err error) {
	s, err := v.api.Sys().SealStatus()
	if err != nil {
		return "", false, err
	}
	return s.Type, s.Sealed, nil
}

// baoClient is OpenBao's library.
type baoClient struct{ api *bao.Client }

func newBao(tb testing.TB, c *curfew) client {
	tb.Helper()
	config := bao.DefaultConfig()
	must(tb, config.Error, "configure the client")
	config.Address, config.MaxRetries, config.Timeout = c.url(), 0, hang
	config.HttpClient.Transport = &http.Transport{DisableKeepAlives: true}
	api, err := bao.NewClient(config)
	must(tb, err, "make a client")
	api.SetToken(c.root)
	return &baoClient{api}
}

func baoAnswer(s *bao.Secret, err error) (*answer, error) {
	if s == nil || err != nil {
		return nil, err
	}
	a := &answer{
		RequestID: s.RequestID, LeaseID: s.LeaseID, Duration: s.LeaseDuration, Renewable: s.Renewable,
		Data: s.Data, Warnings: s.Warnings,
	}
	if s.Auth != nil {
		a.Token, a.Accessor, a.TokenDuration = s.Auth.ClientToken, s.Auth.Accessor, s.Auth.LeaseDuration
	}
	return a, nil
}

func (b *baoClient) as(tb testing.TB, token string) client {
	tb.Helper()
	api, err := b.api.Clone()
	must(tb, err, "clone the client")
	api.SetToken(token)
	return &baoClient{api}
}

func (b *baoClient) mount(path, kind string) error {
	return b.api.Sys().Mount(path, &bao.MountInput{Type: kind})
}

func (b *baoClient) mounts() (map[string]mounted, error) {
	all, err := b.api.Sys().ListMounts()
	out := map[string]mounted{}
	for path, m := range all {
		out[path] = mounted{
			Type: m.Type, Accessor: m.Accessor, Default: m.Config.DefaultLeaseTTL, Max: m.Config.MaxLeaseTTL,
			Version: m.PluginVersion, UUID: m.UUID, Description: m.Description, RunningVersion: m.RunningVersion,
			ExternalEntropy: m.ExternalEntropyAccess,
		}
	}
	return out, err
}

func (b *baoClient) tune(path, defaultTTL, maxTTL string) error {
	return b.api.Sys().TuneMount(path, bao.MountConfigInput{DefaultLeaseTTL: defaultTTL, MaxLeaseTTL: maxTTL})
}

func (b *baoClient) unmount(path string) error { return b.api.Sys().Unmount(path) }

func (b *baoClient) write(path string, data map[string]any) (*answer, error) {
	return baoAnswer(b.api.Logical().Write(path, data))
}

func (b *baoClient) read(path string) (*answer, error) {
	return baoAnswer(b.api.Logical().Read(path))
}

func (b *baoClient) list(path string) (*answer, error) {
	return baoAnswer(b.api.Logical().List(path))
}

func (b *baoClient) remove(path string) error {
	_, err := b.api.Logical().Delete(path)
	return err
}

func (b *baoClient) lookup(leaseID string) (*answer, error) {
	return baoAnswer(b.api.Sys().Lookup(leaseID))
}

func (b *baoClient) renew(leaseID string, increment int) (*answer, error) {
	return baoAnswer(b.api.Sys().Renew(leaseID, increment))
}

func (b *baoClient) revoke(leaseID string, sync bool) error {
	return b.api.Sys().RevokeWithOptions(&bao.RevokeOptions{LeaseID: leaseID, Sync: sync})
}

func (b *baoClient) revokePrefix(prefix string, sync bool) error {
	return b.api.Sys().RevokeWithOptions(&bao.RevokeOptions{LeaseID: prefix, Prefix: true, Sync: sync})
}

func (b *baoClient) createToken(name, ttl string) (*answer, error) {
	return baoAnswer(b.api.Auth().Token().Create(&bao.TokenCreateRequest{DisplayName: name, TTL: ttl}))
}

func (b *baoClient) lookupSelf() (*answer, error) {
	return baoAnswer(b.api.Auth().Token().LookupSelf())
}

func (b *baoClient) revokeToken(token string) error { return b.api.Auth().Token().RevokeTree(token) }

func (b *baoClient) health() (initialized, sealed bool, version string, err error) {
	h, err := b.api.Sys().Health()
	if err != nil {
		return false, false, "", err
	}
	return h.Initialized, h.Sealed, h.Version, nil
}

func (b *baoClient) sealStatus() (kind string, sealed bool, err error) {
	s, err := b.api.Sys().SealStatus()
	if err != nil {
		return "", false, err
	}
	return s.Type, s.Sealed, nil
}

// secondsOf reads a number of a lookup.
func secondsOf(a *answer, key string) time.Duration {
	n, err := a.Data[key].(interface{ Int64() (int64, error) }).Int64()
	if err != nil {
		return -1
	}
	return time.Duration(n) * time.Second
}
