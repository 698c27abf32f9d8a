package storetest_test

import (
	"testing"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

func TestFake(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(_ *testing.T, c clock.Clock) store.Store { return storetest.NewFake(c) })
}
