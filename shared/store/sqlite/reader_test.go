package sqlite

import (
	"fmt"
	"sync"
	"testing"

	"github.com/curfew-project/curfew/shared/store/storetest"
)

// E: statements of any number of texts are run, a bounded number is kept, and
// readers run the same one side by side.
func TestStatementsAreBounded(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), t.TempDir(), storetest.NewClock(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 2 * mostStatements {
				var n int
				if err := (reader{s}).queryRow(t.Context(), fmt.Sprintf(`SELECT %d + ?`, i), 1).Scan(&n); err != nil || n != i+1 {
					t.Errorf("%d + 1 is %d, %v", i, n, err)
					return
				}
			}
		})
	}
	all.Wait()
	if n := len(s.statements.kept); n < mostStatements || n > mostStatements+8 {
		t.Errorf("%d statements are kept, want about %d", n, mostStatements)
	}
	if err := (reader{s}).queryRow(t.Context(), `SELECT nonsense`).Scan(new(int)); err == nil {
		t.Error("a statement that is none was run")
	}
}
