package stage

import (
	"slices"
	"strings"

	"github.com/curfew-project/curfew/shared/testkit/server"
)

// environ is base without what could lead a child to servers, settings or
// secrets of the caller's.
func environ(base []string, home string) []string {
	return slices.DeleteFunc(server.Environ(base, home), func(entry string) bool {
		return strings.HasPrefix(entry, "CURFEW_") || strings.HasPrefix(entry, "XDG_")
	})
}
