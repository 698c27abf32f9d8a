package sweep_test

import (
	"context"
	"errors"
	"testing"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/revoker/internal/sweep"
	"github.com/curfew-project/curfew/shared/engine"
)

// restless is a target that has another life whenever the test says so.
type restless struct {
	*targets
	life string
}

func (x *restless) Targets(context.Context) ([]engine.Target, error) {
	return []engine.Target{{ID: "well", Mount: "database/", Name: "well"}}, nil
}

func (x *restless) Incarnation(context.Context, string) (string, error) { return x.life, nil }

// C6: a target that is not the one that it was is swept for strays at once, and
// only then.
func TestChangedTargetIsSwept(t *testing.T) {
	t.Parallel()
	x := &restless{targets: &targets{listed: map[string]int{}}}
	swept := 0
	ghosts := &sweep.Ghosts{Engines: map[string]engine.Sweeper{"database": x}, Log: zerolog.Nop(), Changed: func() { swept++ }}
	for i, step := range []struct {
		life string
		want int
	}{{"first", 0}, {"first", 0}, {"restored", 1}, {"restored", 1}, {"first", 2}} {
		x.life = step.life
		if _, err := ghosts.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if swept != step.want {
			t.Errorf("round %d: swept %d times, want %d", i, swept, step.want)
		}
	}
}

// lazy is a target that answers when the test says so.
type lazy struct {
	*targets
	err error
}

func (x *lazy) Targets(context.Context) ([]engine.Target, error) {
	return []engine.Target{{ID: "well", Mount: "database/", Name: "well"}}, nil
}

func (x *lazy) EndGhosts(context.Context, string) (int, error) { return 0, x.err }

// C8: that a target answers again is said once for each return.
func TestReturnOfATarget(t *testing.T) {
	t.Parallel()
	x := &lazy{targets: &targets{listed: map[string]int{}}}
	var returned []string
	ghosts := &sweep.Ghosts{
		Engines: map[string]engine.Sweeper{"database": x}, Log: zerolog.Nop(),
		Returned: func(target string) { returned = append(returned, target) },
	}
	for i, step := range []struct {
		err  error
		want int
	}{{nil, 0}, {errors.New("away"), 0}, {errors.New("away"), 0}, {nil, 1}, {nil, 1}, {errors.New("away"), 1}, {nil, 2}} {
		x.err = step.err
		if _, err := ghosts.Do(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(returned) != step.want {
			t.Errorf("round %d: %v, want %d", i, returned, step.want)
		}
	}
}
