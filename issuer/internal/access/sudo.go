package access

import (
	"strings"

	"github.com/curfew-project/curfew/shared/engine"
)

// protected reports whether an operation on a path needs sudo, as on stock
// servers: what reaches beyond the caller's own, and what cannot be undone.
func protected(op engine.Operation, path string) bool {
	switch path {
	case "auth/token/accessors", "auth/token/revoke-orphan",
		"sys/audit", "sys/auth", "sys/remount", "sys/rotate", "sys/seal", "sys/installation/confirm",
		"sys/leases", "sys/leases/operations", "sys/leases/recount", "sys/fsck":
		return true
	case "sys/leases/lookup":
		return op == engine.List
	}
	for _, prefix := range []string{
		"sys/audit/", "sys/auth/", "sys/mounts/auth/", "sys/config/",
		"sys/leases/lookup/", "sys/leases/revoke-prefix/", "sys/leases/revoke-force/",
		"sys/leases/retry-prefix/", "sys/leases/retry-connection/", "sys/leases/abandon/",
		// They tell whose leases there are, as a list of leases does.
		"sys/leases/preview/", "sys/leases/operations/", "sys/fsck/",
		"sys/revoke-prefix/", "sys/revoke-force/",
	} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}
