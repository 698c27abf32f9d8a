package engine_test

import (
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/engine"
)

func TestCheckMark(t *testing.T) {
	t.Parallel()
	for mark, good := range map[string]bool{
		"curfew:run:1": true, ` '"\{}$~`: true, strings.Repeat("x", engine.MaxMark): true,
		"": false, strings.Repeat("x", engine.MaxMark+1): false, "a\nb": false, "a\x00b": false, "a\x7fb": false,
		"ä": false, "\xff": false,
	} {
		err := engine.CheckMark(mark)
		if (err == nil) != good {
			t.Errorf("%q: %v", mark, err)
		}
		if err != nil && engine.AsError(err).Kind != engine.Invalid {
			t.Errorf("%q: %s", mark, engine.AsError(err).Kind)
		}
	}
}
