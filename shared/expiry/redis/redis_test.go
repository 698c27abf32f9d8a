package redis

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Whatever a target is called, its keys are in one slot and no other's.
func TestKeys(t *testing.T) {
	t.Parallel()
	x := &Index{prefix: "curfew:"}
	hashed := func(key string) string { // the part that Redis hashes
		open := strings.IndexByte(key, '{')
		end := strings.IndexByte(key[open+1:], '}')
		if open < 0 || end < 1 {
			return key
		}
		return key[open+1 : open+1+end]
	}
	odd := rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("{}%7BDa:due"))))
	rapid.Check(t, func(t *rapid.T) {
		a, b := odd.Draw(t, "a"), odd.Draw(t, "b")
		keys := slices.Concat(x.targetKeys(a), x.registryKeys())
		for i, key := range x.targetKeys(a) {
			if hashed(key) != tag(a) {
				t.Errorf("%q is hashed by %q, want %q", key, hashed(key), tag(a))
			}
			if a != b && slices.Contains(x.targetKeys(b), key) || slices.Index(keys, key) != i {
				t.Errorf("%q is a key of two", key)
			}
		}
	})
	for _, key := range x.registryKeys() {
		if hashed(key) != registryTag {
			t.Errorf("%q is hashed by %q", key, hashed(key))
		}
	}
}

// Nothing is due before its time: times are rounded up, the present down; and a
// score read back is the same again.
func TestScores(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := time.Unix(rapid.Int64Range(-1e9, 8e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		due, err := parseScore(dueScore(at))
		if err != nil || due.Before(at) || due.Sub(at) >= time.Microsecond || dueScore(due) != dueScore(at) {
			t.Errorf("%v is due at %v, %v", at, due, err)
		}
		now, err := parseScore(nowScore(at))
		if err != nil || now.After(at) || at.Sub(now) >= time.Microsecond {
			t.Errorf("%v is taken for %v, %v", at, now, err)
		}
	})
	for at, want := range map[time.Time]string{
		{}: "-9007199254740991", time.Unix(1<<60, 0): "9007199254740991", time.Unix(1, 1): "1000001",
	} {
		if got := dueScore(at); got != want {
			t.Errorf("score of %v is %s, want %s", at, got, want)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := []string{"127.0.0.1:1"}
	for _, c := range []struct {
		name string
		cfg  Config
		want string // in the error; empty: none
	}{
		{"zero", Config{}, "no address"},
		{"one", Config{Addresses: one}, ""},
		{"two", Config{Addresses: []string{"a:1", "b:1"}}, "several addresses"},
		{"two of a cluster", Config{Addresses: []string{"a:1", "b:1"}, Cluster: true}, ""},
		{"two Sentinels", Config{Addresses: []string{"a:1", "b:1"}, Master: "m"}, ""},
		{"both", Config{Addresses: one, Cluster: true, Master: "m"}, "choose one"},
		{"database of a cluster", Config{Addresses: one, Cluster: true, DB: 1}, "database 0"},
		{"brace", Config{Addresses: one, Prefix: "{a"}, "braces"},
		{"no file", Config{Addresses: one, PasswordFile: filepath.Join(dir, "none")}, "read the password"},
		{"empty file", Config{Addresses: one, PasswordFile: write("empty", "\nsecond")}, "is empty"},
		{"no file for Sentinels", Config{Addresses: one, Master: "m", SentinelPasswordFile: filepath.Join(dir, "none")}, "read the password"},
		{"file", Config{Addresses: one, PasswordFile: write("file", "s3cret\r\n")}, ""},
	} {
		x, err := New(c.cfg)
		if err == nil {
			err = x.Close()
		}
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if got, err := password(filepath.Join(dir, "file")); err != nil || got != "s3cret" {
		t.Errorf("read another password than was written: %v", err)
	}
}

func FuzzParseInfo(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.0.15\r\n\r\nrole:master\r\n")
	f.Add("a:b:c\n:\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range parseInfo(text) {
			if !strings.Contains(text, name+":"+value) {
				t.Errorf("%q: %q was not said", name, value)
			}
		}
	})
}

// D2: what INFO alone says, or does not say, for servers that are not at hand.
func TestWarnings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"redis_version:6.2.14\nmaxmemory:0\nmaxmemory_policy:noeviction\naof_enabled:1\nrole:master\nconnected_slaves:1":  {"version 6.2.14 is too old"},
		"redis_version:8.2.0\nmaxmemory:5\nmaxmemory_policy:volatile-lru\naof_enabled:1\nrole:master\nconnected_slaves:2": {"it evicts keys"},
		"redis_version:7.2.4\nvalkey_version:8.0.1\nmaxmemory:5\nmaxmemory_policy:noeviction\naof_enabled:1\nrole:master\nconnected_slaves:1\ncluster_enabled:1": {
			"it is a node of a Redis Cluster",
		},
		"": {"the version could not", "the eviction policy could not", "persistence could not", "replicas could not"},
	} {
		r := &report{node: "n"}
		info := parseInfo(text)
		r.version(info)
		r.memory(info)
		r.persistence(t.Context(), nil, info)
		r.replication(info)
		r.mode(info, false)
		ok := len(r.found) == len(want)
		for i, w := range r.found {
			ok = ok && strings.HasPrefix(w.Problem, want[i])
		}
		if !ok {
			t.Errorf("%q: warned of %v, want %q", text, r.found, want)
		}
	}
}
