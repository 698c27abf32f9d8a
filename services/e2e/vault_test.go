//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	vault "github.com/hashicorp/vault/api"
)

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
	if s.WrapInfo != nil {
		a.Wrap, a.WrapAccessor = s.WrapInfo.Token, s.WrapInfo.Accessor
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

func (v *vaultClient) wrapping(tb testing.TB, ttl string) client {
	tb.Helper()
	api, err := v.api.Clone()
	must(tb, err, "clone the client")
	api.SetToken(v.api.Token())
	api.SetWrappingLookupFunc(func(string, string) string { return ttl })
	return &vaultClient{api}
}

func (v *vaultClient) unwrap(token string) (*answer, error) {
	return vaultAnswer(v.api.Logical().Unwrap(token))
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
	return v.api.Sys().TuneMountAllowNil(path, vault.TuneMountConfigInput{DefaultLeaseTTL: &defaultTTL, MaxLeaseTTL: &maxTTL})
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

func (v *vaultClient) putPolicy(name, rules string) error { return v.api.Sys().PutPolicy(name, rules) }

func (v *vaultClient) createToken(name, ttl string, policies ...string) (*answer, error) {
	return vaultAnswer(v.api.Auth().Token().Create(&vault.TokenCreateRequest{DisplayName: name, TTL: ttl, Policies: policies}))
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
