package postgres

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine/database/internal/sqltext"
	"github.com/curfew-project/curfew/shared/lease"
)

func compile(tb rapid.TB, p Plan) *compiled {
	tb.Helper()
	b, err := p.Encode()
	if err != nil {
		tb.Fatal(err)
	}
	c, err := newPlans().get(b)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// Every open job is in one batch or waits for the first of its kind; a batch
// is within its bounds; statements that never ran, that run alone, or that a
// failure made solitary share with nobody (B5).
func TestCut(t *testing.T) {
	t.Parallel()
	const create = `CREATE ROLE "{{name}}" LOGIN`
	rapid.Check(t, func(t *rapid.T) {
		plans := []*compiled{
			compile(t, Plan{Generation: "a", Creation: []string{create}}),
			compile(t, Plan{Generation: "b", Creation: []string{create, `COMMENT ON ROLE "{{name}}" IS '` + strings.Repeat("x", 50_000) + `'`}}),
			compile(t, Plan{Generation: "c", Creation: []string{create, `SELECT 1`}}),
		}
		for _, p := range plans {
			switch rapid.IntRange(0, 2).Draw(t, "trial") {
			case 1:
				p.trials[0].set(true)
			case 2:
				p.trials[0].set(false)
			}
		}
		jobs := make([]*job, rapid.IntRange(0, 400).Draw(t, "jobs"))
		for i := range jobs {
			jobs[i] = &job{
				lease: &lease.Lease{}, plan: rapid.SampledFrom(plans).Draw(t, "plan"), kind: sqltext.Creation,
				state:    rapid.SampledFrom([]jobState{open, open, open, settled}).Draw(t, "state"),
				solitary: rapid.IntRange(0, 9).Draw(t, "solitary") == 0,
				share:    rapid.SampledFrom([]int{0, 0, 0, 1, 5}).Draw(t, "share"),
			}
		}
		seen := map[*job]bool{}
		tried := map[*trial]int{}
		for _, chunk := range cut(jobs) {
			size := 0
			for _, j := range chunk {
				if j.state != open || seen[j] {
					t.Fatal("a job that is settled, or is twice in batches")
				}
				seen[j] = true
				size += j.size()
				if len(chunk) > 1 && j.single() {
					t.Fatal("a job that must be alone shares")
				}
				if j.share > 0 && len(chunk) > j.share {
					t.Fatalf("%d share, %d may", len(chunk), j.share)
				}
				if tr := j.trial(); tr.get() == untried && !j.solitary && j.script().Batchable() {
					tried[tr]++
				}
			}
			if len(chunk) > maxUnits || (len(chunk) > 1 && size > maxBytes) {
				t.Fatalf("%d jobs, %d bytes", len(chunk), size)
			}
		}
		for _, j := range jobs {
			waits := j.trial().get() == untried && !j.solitary && j.script().Batchable()
			if j.state == open && !seen[j] && (!waits || tried[j.trial()] != 1) {
				t.Fatal("a job is forgotten")
			}
		}
	})
}

func TestFenceIsTheEarliestDeadline(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	live := []*job{
		{lease: &lease.Lease{CreateDeadline: at.Add(time.Hour)}},
		{lease: &lease.Lease{CreateDeadline: at}},
		{lease: &lease.Lease{CreateDeadline: at.Add(-time.Hour)}},
	}
	if got := fence(live, []int{0, 1}); len(got) != 1 || !strings.Contains(got[0], "2030-01-02 03:04:05+00") {
		t.Fatalf("%q", got)
	}
	if got := fence(live, nil); got != nil {
		t.Fatalf("%q", got)
	}
}

func TestStamp(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("", 2*3600)
	if got := stamp(time.Date(2030, 1, 2, 3, 4, 5, 600_000_000, zone)); got != "2030-01-02 01:04:05.6+00" {
		t.Fatal(got)
	}
	if got := stamp(time.Time{}); got != "infinity" {
		t.Fatal(got)
	}
}
