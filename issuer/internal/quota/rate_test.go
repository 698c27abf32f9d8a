package quota

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/store"
)

func ruleOf(t interface{ Fatal(...any) }, key string, l limit) *rule {
	value, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	r, err := newRule(&store.Entry{Kind: store.KindRateQuota, ID: "q", Key: key, Value: value})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Law: in any stretch of time a client is let in at most rate × time + burst
// times, whatever it does; who waits for Reset after a refusal is let in; and
// what one client does is nothing to another.
func TestRate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := limit{
			Rate:     float64(rapid.IntRange(1, 40).Draw(t, "tenths")) / 10,
			Interval: time.Duration(rapid.IntRange(1, 5).Draw(t, "interval")) * time.Second,
			Block:    time.Duration(rapid.IntRange(0, 3).Draw(t, "block")) * time.Second,
		}
		r := ruleOf(t, "/", l)
		start := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
		now, allowed := start, []time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "pause")) * time.Millisecond)
			v := r.take("a", now)
			if !v.Governed || v.Limit != l.burst() || v.Remaining < 0 || v.Remaining > v.Limit || v.Reset < 0 {
				t.Fatalf("the verdict is %+v", v)
			}
			if v.Allowed {
				allowed = append(allowed, now)
			} else if rapid.Bool().Draw(t, "wait") {
				now = now.Add(v.Reset + time.Microsecond) // rounding
				if v := r.take("a", now); !v.Allowed {
					t.Fatalf("refused after the wait that was asked for: %+v", v)
				}
				allowed = append(allowed, now)
			}
		}
		for i := range allowed {
			for j := i; j < len(allowed); j++ {
				most := allowed[j].Sub(allowed[i]).Seconds()*float64(l.perSecond()) + float64(l.burst())
				if n := float64(j - i + 1); n > most+0.001 {
					t.Fatalf("%v were let in from %s to %s, at most %v may", n, allowed[i].Sub(start), allowed[j].Sub(start), most)
				}
			}
		}
		if v := r.take("b", now); !v.Allowed {
			t.Fatal("one client's requests counted for another")
		}
	})
}

// A client that exceeds the rate is refused for the whole block, also when a
// bucket would have room again, and asking meanwhile does not prolong it.
func TestBlock(t *testing.T) {
	t.Parallel()
	r := ruleOf(t, "/", limit{Rate: 1, Interval: time.Second, Block: time.Minute})
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	r.take("a", now)
	for _, after := range []time.Duration{0, 2 * time.Second, 59 * time.Second} {
		if v := r.take("a", now.Add(after)); v.Allowed || v.Reset != time.Minute-after {
			t.Errorf("after %s: %+v", after, v)
		}
	}
	if v := r.take("a", now.Add(time.Minute)); !v.Allowed {
		t.Errorf("after the block: %+v", v)
	}
}

// Law: a flood of addresses takes bounded memory, and who has just asked is not
// forgotten by it.
func TestBoundedClients(t *testing.T) {
	t.Parallel()
	r := ruleOf(t, "/", limit{Rate: 1, Interval: time.Hour})
	r.most = 10
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	r.take("mine", now)
	for n := range 1000 {
		r.take(fmt.Sprint(n), now)
		if v := r.take("mine", now); v.Allowed {
			t.Fatalf("after %d other addresses a busy one was forgotten", n)
		}
		if len(r.clients) > 10 || r.recent.Len() != len(r.clients) {
			t.Fatalf("%d clients are remembered", len(r.clients))
		}
	}
}

// A quota is for whole elements of a path.
func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		key, path string
		want      bool
	}{
		{"/", "sys/mounts", true},
		{"/database/", "database/creds/a", true},
		{"/database/", "database", true},
		{"/database/", "database-2/creds/a", false},
		{"/database/creds/a/", "database/creds/ab", false},
		{"/database/creds/a/", "database/creds/a", true},
	} {
		if got := ruleOf(t, c.key, limit{Rate: 1, Interval: time.Second}).covers(c.path); got != c.want {
			t.Errorf("%s covers %s: %t", c.key, c.path, got)
		}
	}
}
