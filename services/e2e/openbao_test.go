//go:build e2e

package e2e

import (
	"net/http"
	"testing"

	bao "github.com/openbao/openbao/api/v2"
)

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
	if s.WrapInfo != nil {
		a.Wrap, a.WrapAccessor = s.WrapInfo.Token, s.WrapInfo.Accessor
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

func (b *baoClient) wrapping(tb testing.TB, ttl string) client {
	tb.Helper()
	api, err := b.api.Clone()
	must(tb, err, "clone the client")
	api.SetToken(b.api.Token())
	api.SetWrappingLookupFunc(func(string, string) string { return ttl })
	return &baoClient{api}
}

func (b *baoClient) unwrap(token string) (*answer, error) {
	return baoAnswer(b.api.Logical().Unwrap(token))
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

func (b *baoClient) putPolicy(name, rules string) error { return b.api.Sys().PutPolicy(name, rules) }

func (b *baoClient) createToken(name, ttl string, policies ...string) (*answer, error) {
	return baoAnswer(b.api.Auth().Token().Create(&bao.TokenCreateRequest{DisplayName: name, TTL: ttl, Policies: policies}))
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
