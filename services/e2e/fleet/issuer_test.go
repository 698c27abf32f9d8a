//go:build e2e

package fleet

import (
	"testing"
)

// clients is how many a load has.
const clients = 16

// issuerGone: one of two issuers goes away under load. The clients' ordinary
// retries suffice, and no account is left behind (B1).
func issuerGone(t *testing.T, f *fleet) {
	t.Helper()
	for name, end := range map[string]func(testing.TB, ...string){"killed": f.kill, "stopped in order": f.stop} {
		t.Run(name, func(t *testing.T) {
			l := f.load(t, clients)
			for _, issuer := range f.named("issuer-") {
				l.more(t, 100)
				end(t, issuer)
				l.more(t, 100)
				f.start(t)
			}
			l.more(t, 100)
			if errors := l.stop(t); len(errors) > 0 {
				t.Errorf("%d requests failed beyond the library's retries", len(errors))
			}
			f.check(t)
		})
	}
}
