package issuer_test

import (
	"strings"
	"testing"

	"github.com/curfew-project/curfew/issuer"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// sys/seal needs sudo and closes everything but what needs no token; sys/unseal
// needs the key and no token; the texts are those of stock servers.
func TestSealAndUnseal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.policy("update", `path "sys/seal" { capabilities = ["update"] }`)
	w.policy("sudo", `path "sys/seal" { capabilities = ["update", "sudo"] }`)
	w.ok(w.as(w.token(`{"policies":["update"]}`).Auth.ClientToken, "PUT", "sys/seal", ""), 403)
	w.ok(w.as("", "PUT", "sys/seal", ""), 403)
	w.ok(w.do("GET", "sys/unseal", ""), 405)
	w.ok(w.as(w.token(`{"policies":["sudo"]}`).Auth.ClientToken, "POST", "sys/seal", ""), 204)
	for _, path := range []string{"database/creds/readonly", "sys/mounts", "auth/token/lookup-self", "sys/leader"} {
		w.refused(w.do("GET", path, ""), 503, "Vault is sealed")
	}
	w.refused(w.do("PUT", "sys/seal", ""), 503, "Vault is sealed")
	w.refused(w.do("PUT", "auth/approle/login", "{}"), 503, "Vault is sealed")
	w.ok(w.do("GET", "sys/health", ""), 503)

	unseal := func(body string) response { return w.as("", "PUT", "sys/unseal", body) }
	for body, text := range map[string]string{
		"":                       "'key' must be specified in request body as JSON, or 'reset' set to true",
		`{"key":""}`:             "'key' must be specified in request body as JSON, or 'reset' set to true",
		`{"key":"no key"}`:       "'key' must be a valid hex or base64 string",
		`{"key":"another"}`:      "unable to retrieve stored keys: invalid key: failed to decrypt keys from storage: cipher: message authentication failed",
		`{"key":["x"]}`:          `error converting input for field "key": expected a string`,
		`{"key":"x","reset":"y"`: "",
	} {
		r := w.ok(unseal(body), 400)
		if text != "" && r.envelope(t).Errors[0] != text {
			t.Errorf("%s: %s", body, r.body)
		}
	}
	if r := w.ok(unseal(`{"reset":true}`), 200); !strings.Contains(r.body, `"sealed":true`) || !strings.Contains(r.body, `"progress":0`) {
		t.Errorf("reset: %s", r.body)
	}
	if r := w.ok(unseal(`{"key":"the key","reset":false,"migrate":false}`), 200); !strings.Contains(r.body, `"sealed":false`) {
		t.Errorf("unsealed: %s", r.body)
	}
	w.creds()
	if strings.Contains(w.logs.String(), "the key") {
		t.Error("the key is in the log")
	}
}

// Bounds and words of sys/init are those of stock servers; who wants keys and
// token encrypted is not given them in the clear.
func TestInitBounds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.seal.set(func(s *issuer.SealStatus) { s.Initialized = false })
	for body, text := range map[string]string{
		`{"secret_shares":-1,"secret_threshold":1}`:                         `error converting input for field "secret_shares": "-1" is not a whole number of zero or more`,
		`{"secret_shares":1,"secret_threshold":0}`:                          "invalid seal configuration: threshold must be at least one",
		`{"secret_shares":3,"secret_threshold":5}`:                          "invalid seal configuration: threshold cannot be larger than shares",
		`{"secret_shares":3,"secret_threshold":1}`:                          "invalid seal configuration: threshold must be greater than one for multiple shares",
		`{"secret_shares":256,"secret_threshold":3}`:                        "invalid seal configuration: shares must be less than 256",
		`{"secret_shares":1,"secret_threshold":1,"pgp_keys":["keybase:x"]}`: "pgp_keys is not supported: keys and root token are not encrypted with PGP",
		`{"secret_shares":1,"secret_threshold":1,"root_token_pgp_key":"x"}`: "root_token_pgp_key is not supported: keys and root token are not encrypted with PGP",
		`{"secret_shares":1,"secret_threshold":1,"pgp_keys":7}`:             "bad value for pgp_keys",
	} {
		w.refused(w.as("", "PUT", "sys/init", body), 400, text)
	}
	w.ok(w.as("", "PUT", "sys/init", `{"secret_shares":5,"secret_threshold":3,"pgp_keys":null,"recovery_pgp_keys":[],"root_token_pgp_key":""}`), 200)
}

// A3: an issuer that has not heard of a seal issues nothing from the commit of
// the seal on, neither what it begins nor what it has begun: that is taken back.
func TestSealInTheCommit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	put, err := w.fake.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindSystem, Key: "seal", Value: []byte("{}")}}})
	must(t, err)
	guard := []store.Ref{{Kind: store.KindSystem, ID: put[0].ID}}
	w.seal.mu.Lock()
	w.seal.guard = guard
	w.seal.mu.Unlock()
	w.creds()

	release, reached := make(chan struct{}), make(chan struct{}, 1)
	w.engine.Inject(enginetest.Fault{Method: enginetest.MethodCreate, Wait: release, Reached: reached, Times: 1})
	got := make(chan response)
	go func() { got <- w.do("GET", "database/creds/readonly", "") }()
	arrive(t, reached)
	_, err = w.fake.Write(t.Context(), store.Write{Withdrawals: guard})
	must(t, err)
	close(release)
	w.refused(<-got, 503, "Vault is sealed")
	if n := len(w.leases(lease.Revoking)); n != 1 {
		t.Errorf("%d leases are in revoking, want the one under way", n)
	}
	w.refused(w.do("GET", "database/creds/readonly", ""), 503, "Vault is sealed")
	w.refused(w.do("POST", "auth/token/create", `{"ttl":"1h"}`), 503, "Vault is sealed")
	if n := len(w.probe.Names()); n != 2 { // the first, and the one that is being revoked
		t.Errorf("the target has %d accounts, want 2", n)
	}
	w.ok(w.do("PUT", "sys/leases/revoke-prefix/database/creds", `{"sync":false}`), 202)
}
