package approle_test

import (
	"errors"
	"testing"

	"github.com/curfew-project/curfew/issuer/internal/auth/approle"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
)

// Every path of the method is explained.
func TestHelp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	enginetest.CheckHelp(t, &approle.Method{}, ".", "x", func(path string) bool {
		for _, op := range []engine.Operation{engine.Read, engine.List, engine.Delete, engine.Write} {
			_, err := w.do(op, path, "")
			var e *wire.Error
			if !errors.As(err, &e) || e.Error() != wire.UnsupportedPath().Error() {
				return true
			}
		}
		return false
	})
}
