package leases

import (
	"fmt"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/lease"
)

// Law: whatever a summary is given, it holds and shows no more than its bounds,
// and what it shows and what it says of the others is all of it.
func TestSummaryIsBounded(t *testing.T) {
	t.Parallel()
	for _, owners := range []int{1, mostListed, mostListed + 1, mostCounted, mostCounted + 7} {
		s := newSummary()
		for i := range owners + 50 {
			s.add(&lease.Lease{ID: lease.ID(fmt.Sprintf("db/creds/r%d/x", i%7)), State: lease.Active, IssuedBy: lease.Actor{Name: fmt.Sprint(i % owners)}})
		}
		data := s.answer("db/", time.Time{}).Data
		shown := data["owners"].([]map[string]any)
		others := data["other_owners"].(map[string]any)
		sum := others["leases"].(int)
		for _, o := range shown {
			sum += o["count"].(int)
		}
		switch beyond := owners > mostCounted; {
		case len(s.owners.by) > mostCounted || len(shown) > mostListed:
			t.Fatalf("%d owners are held, %d shown", len(s.owners.by), len(shown))
		case sum != s.total:
			t.Fatalf("%d leases are accounted for, of %d", sum, s.total)
		case others["at_least"] != beyond:
			t.Fatalf("%d owners: %v", owners, others)
		case !beyond && len(shown)+others["count"].(int) != owners:
			t.Fatalf("%d owners: %d shown, %v", owners, len(shown), others)
		case beyond && len(shown)+others["count"].(int) > owners:
			t.Fatalf("%d owners: at least %d shown, %v", owners, len(shown), others)
		}
	}
}
