//go:build e2e

package fault

import (
	"fmt"
	"strings"
	"testing"

	vault "github.com/hashicorp/vault/api"

	"github.com/curfew-project/curfew/shared/testkit/crashpoint"
)

// firstStart carries a plan out that needs an installation which is just being
// made: a second server, with a target of its own, while the first one rests. It
// is killed meanwhile, goes on, and then works.
func (w *world) firstStart(t *testing.T, p crashpoint.Plan) (fired bool) {
	t.Helper()
	w.form.kill(t, w.form.ours()...)
	if w.second == nil {
		w.second = newTarget(t)
	}
	must(t, w.control.Arm(p), "arm "+p.String())
	s := unstarted(t, w.form.programs())
	o := &world{form: s, target: w.second, book: newBook()}
	o.again(t)
	defer s.kill(t)
	o.root = s.token(t)
	c := o.client(t)
	there := func(err error) error {
		if err != nil && strings.Contains(err.Error(), "path is already in use") {
			return nil
		}
		return err
	}
	o.insist(t, "enable the engine", func() error {
		return there(c.Sys().Mount("database", &vault.MountInput{Type: "database"}))
	})
	for path, data := range map[string]map[string]any{
		"config/db": o.target.connection(t, o.target.admin.User, o.target.admin.Password), "roles/app": role(longTTL),
	} {
		o.insist(t, "write "+path, func() error { _, err := c.Logical().Write("database/"+path, data); return err })
	}
	var cred credential
	o.insist(t, "issue", func() (err error) { cred, err = o.issue(t.Context(), c, "database/creds/app"); return err })
	if err := o.target.login(t.Context(), cred.user, cred.password); err != nil {
		t.Errorf("%s: the first credential does not work: %v", p, err)
	}
	o.insist(t, "revoke", func() error { return revoke(t.Context(), c, cred, true) })
	if !soon(cleanWithin, func() bool { return len(o.target.accounts(t)) == 0 }) {
		t.Errorf("%s: accounts are left: %v", p, fmt.Sprint(o.target.accounts(t)))
	}
	return len(w.fired(t)) > 0
}
