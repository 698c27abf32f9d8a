package auditor

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
)

// held is a ledger that fails as its test says.
type held struct {
	err    error
	closed int
}

func (h *held) Append(context.Context, int64, int64, [][]byte) (int64, error) { return 7, h.err }
func (h *held) Next(context.Context, int64) (int64, error)                    { return 8, h.err }
func (h *held) Close(context.Context) error                                   { h.closed++; return nil }

func TestKeeperOpensAnew(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		anew bool
	}{
		"broken":  {fmt.Errorf("append: %w", ledger.ErrBroken), true},
		"fenced":  {fmt.Errorf("append: %w", ledger.ErrFenced), true},
		"damaged": {&ledger.DamagedError{Damages: []ledger.Damage{{}}}, true},
		"gap":     {&ledger.GapError{}, false},
		"other":   {errors.New("other"), false},
		"well":    {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second := &held{err: c.err}, &held{}
			answers := []any{first, errors.New("locked"), second}
			k, err := keep(t.Context(), nil, func(context.Context) (opened, error) {
				a := answers[0]
				answers = answers[1:]
				if err, failed := a.(error); failed {
					return nil, err
				}
				return a.(opened), nil
			}, true)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := k.Append(t.Context(), 1, 7, nil); n != 7 || !errors.Is(err, c.err) {
				t.Errorf("append: %d, %v; want the ledger's answer", n, err)
			}
			_, err = k.Next(t.Context(), 1)
			if anew := first.closed == 1 && len(answers) == 1; anew != c.anew {
				t.Fatalf("opened anew: %t, want %t", anew, c.anew)
			}
			if c.anew {
				if err == nil || err.Error() != "locked" {
					t.Errorf("next while another has it: %v", err)
				}
				if n, err := k.Next(t.Context(), 1); n != 8 || err != nil {
					t.Errorf("next after that: %d, %v", n, err)
				}
			}
			for range 2 {
				if err := k.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
			if first.closed+second.closed != 1+min(1, 3-len(answers)-1) {
				t.Errorf("closed %d and %d times", first.closed, second.closed)
			}
			if _, err := k.Append(t.Context(), 1, 1, nil); !errors.Is(err, ledger.ErrClosed) {
				t.Errorf("append after close: %v, want ErrClosed", err)
			}
		})
	}
}

func TestKeeperFailsToOpen(t *testing.T) {
	t.Parallel()
	locked := errors.New("locked")
	if k, err := keep(t.Context(), nil, func(context.Context) (opened, error) { return nil, locked }, true); k != nil || !errors.Is(err, locked) {
		t.Errorf("keep: %v, %v", k, err)
	}
}
