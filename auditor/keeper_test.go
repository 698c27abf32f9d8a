package auditor

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/store/storetest"
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
			k := newKeeper(nil, clock.System{}, func(context.Context) (opened, error) {
				a := answers[0]
				answers = answers[1:]
				if err, failed := a.(error); failed {
					return nil, err
				}
				return a.(opened), nil
			})
			if err := k.hold(t.Context()); err != nil {
				t.Fatal(err)
			}
			if n, err := k.Append(t.Context(), 1, 7, nil); n != 7 || !errors.Is(err, c.err) {
				t.Errorf("append: %d, %v; want the ledger's answer", n, err)
			}
			_, err := k.Next(t.Context(), 1)
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
	k := newKeeper(nil, clock.System{}, func(context.Context) (opened, error) { return nil, locked })
	if err := k.hold(t.Context()); !errors.Is(err, locked) {
		t.Errorf("hold: %v", err)
	}
}

// D5: who may not append does not even open the ledger, and asks anew each time.
func TestKeeperAsksFirst(t *testing.T) {
	t.Parallel()
	may, opens := false, 0
	k := newKeeper(nil, clock.System{}, func(context.Context) (opened, error) { opens++; return &held{}, nil })
	k.may = func() bool { return may }
	for _, may = range []bool{false, true, false} {
		_, appended := k.Append(t.Context(), 1, 1, nil)
		_, read := k.Next(t.Context(), 1)
		if refused := errors.Is(appended, errNotElected) && errors.Is(read, errNotElected); refused == may {
			t.Errorf("may: %t; append: %v, next: %v", may, appended, read)
		}
	}
	if opens != 1 {
		t.Errorf("the ledger was opened %d times", opens)
	}
}

// A call that does not return is seen from beside it; one that has returned is
// not held against the ledger.
func TestKeeperHangs(t *testing.T) {
	t.Parallel()
	c := storetest.NewClock()
	entered, leave := make(chan struct{}), make(chan struct{})
	k := newKeeper(nil, c, func(context.Context) (opened, error) {
		close(entered)
		<-leave
		return &held{}, nil
	})
	if k.hung() {
		t.Error("it hangs before it is used")
	}
	done := make(chan error, 1)
	go func() { done <- k.hold(t.Context()) }()
	<-entered
	c.Advance(hungAfter)
	if k.hung() {
		t.Error("it hangs too soon")
	}
	c.Advance(1)
	if !k.hung() {
		t.Error("it does not hang")
	}
	close(leave)
	if err := <-done; err != nil || k.hung() {
		t.Errorf("hold: %v; it hangs: %t", err, k.hung())
	}
}
