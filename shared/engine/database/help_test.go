package database

import (
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/engine/enginetest"
)

// Every path of the engine is explained.
func TestHelp(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	enginetest.CheckHelp(t, b.Engine, ".", "x", func(path string) bool {
		for _, op := range []engine.Operation{engine.Read, engine.List, engine.Delete, engine.Write} {
			if _, err := b.ask(op, path, nil); err == nil || engine.AsError(err).Kind != engine.UnsupportedPath {
				return true
			}
		}
		return false
	})
}
