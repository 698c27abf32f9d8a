package quota

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/curfew-project/curfew/shared/store"
	"github.com/curfew-project/curfew/shared/store/storetest"
)

// What another issuer has changed counts from the next step on; the buckets of
// quotas that did not change stay as they are; a store that is away changes
// nothing; a quota that cannot be read limits nothing, and is logged.
func TestRefresh(t *testing.T) {
	t.Parallel()
	c := storetest.NewClock()
	fake := storetest.NewFake(c)
	faulty := storetest.NewFaulty(fake)
	var log bytes.Buffer
	l := NewLimiter(faulty, c, zerolog.New(&log))
	revision := int64(0)
	write := func(puts ...store.Entry) {
		t.Helper()
		puts = append(puts, store.Entry{Kind: store.KindSystem, Key: settingsKey, Revision: revision, Value: []byte(`{"exempt":["sys/x","sys/y/*"]}`)})
		revision++
		if _, err := fake.Write(t.Context(), store.Write{Puts: puts}); err != nil {
			t.Fatal(err)
		}
	}
	quota := func(name, key, value string) store.Entry {
		return store.Entry{Kind: store.KindRateQuota, ID: name, Key: key, Value: []byte(value)}
	}
	step := func() {
		t.Helper()
		if again, err := l.Do(t.Context()); err != nil || again != askEvery {
			t.Fatalf("step: %s, %v", again, err)
		}
	}
	takes := func(path string, want bool) {
		t.Helper()
		if v, _ := l.Take(path, "192.0.2.7"); v.Allowed != want {
			t.Errorf("%s: %+v, want %t", path, v, want)
		}
	}
	takes("a/b", true)
	step()
	write(quota("all", "/", `{"rate":1,"interval":3600000000000}`), quota("a", "/a/", `{"rate":2,"interval":3600000000000}`))
	takes("a/b", true) // not known yet
	step()
	takes("a/b", true)
	takes("a/b", true)
	takes("a/c", false) // a mount's quota counts for all below it
	takes("other", true)
	takes("other", false)
	takes("sys/x", true)
	takes("sys/y/z", true)
	takes("sys/xx", false)

	write(quota("b", "/b/", `{"rate":1,"interval":3600000000000}`), quota("c", "/c/", `nonsense`), quota("d", "/d/", `{"rate":0}`))
	faulty.Break(storetest.Fault{Method: "List"})
	if _, err := l.Do(t.Context()); err == nil {
		t.Error("a step without the store")
	}
	takes("a/b", false)
	faulty.Break()
	step()
	takes("b", true)
	takes("b", false)
	takes("a/b", false) // it remembers
	takes("c", false)   // goes by the quota of everything
	if n := strings.Count(log.String(), "cannot be read"); n != 2 {
		t.Errorf("%d quotas are said to be unreadable: %s", n, log.String())
	}
	c.Advance(time.Hour)
	takes("a/b", true)
}
