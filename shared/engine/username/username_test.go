package username_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine/username"
)

const nameChars = "abcdefghijklmnopqrstuvwxyz0123456789-"

func key(id byte, fill byte) username.Key {
	return username.Key{ID: id, Secret: bytes.Repeat([]byte{fill}, username.MinSecret)}
}

func namer(tb testing.TB, installation string, current byte, keys ...username.Key) *username.Namer {
	tb.Helper()
	n, err := username.New(installation, keys, current)
	if err != nil {
		tb.Fatalf("new namer: %v", err)
	}
	return n
}

// The name of one lease is written down: a change of the derivation would cut
// every running installation off from its accounts.
func TestNameIsStable(t *testing.T) {
	t.Parallel()
	n := namer(t, "installation-1", 'a', key('a', 1))
	got := n.Name("token-app-A", "app-readonly", "database/creds/app-readonly/abcdefgh", time.Unix(1693258841, 0))
	const want = "v-token-ap-app-read-amxxtvghw64vakgn64rr-1693258841"
	if got != want {
		t.Fatalf("name\n got %s\nwant %s", got, want)
	}
	mark, ok := n.Recognise(got)
	if !ok {
		t.Fatal("own name not recognised")
	}
	if want := time.Unix(1693258841, 0).UTC(); mark.CreatedAt != want {
		t.Errorf("created at %v, want %v", mark.CreatedAt, want)
	}
	if mark.KeyID != 'a' {
		t.Errorf("key id %q, want 'a'", mark.KeyID)
	}
	if want := username.LeaseHash("database/creds/app-readonly/abcdefgh"); mark.LeaseHash != want {
		t.Errorf("lease hash %s, want %s", mark.LeaseHash, want)
	}
}

func TestPartsAreMapped(t *testing.T) {
	t.Parallel()
	n := namer(t, "i", 'a', key('a', 1))
	for _, tc := range []struct{ display, role, want string }{
		{"root", "readonly", "v-root-readonly-"},
		{"Token-App-A", "APP", "v-token-ap-app-"},
		{"", "", "v-x-x-"},
		{"----", "////", "v-x-x-"},
		{`a"; DROP ROLE x; --`, "it's", "v-a-drop-r-it-s-"},
		{"--a--b--", "1234567-9", "v-a-b-1234567-"},
		{"über", "日本語ro", "v-ber-ro-"},
		{"\u212a\x00\xff", "k", "v-x-k-"}, // the Kelvin sign folds to k in Unicode, not here
	} {
		got := n.Name(tc.display, tc.role, "lease", time.Unix(1, 0))
		if !strings.HasPrefix(got, tc.want) || len(got) != len(tc.want)+len("aaaaaaaaaaaaaaaaaaaa-1") {
			t.Errorf("display %q, role %q: %s, want %s…", tc.display, tc.role, got, tc.want)
		}
	}
}

func TestTimesOutsideTheShapeAreMoved(t *testing.T) {
	t.Parallel()
	n := namer(t, "i", 'a', key('a', 1))
	for _, tc := range []struct {
		at   time.Time
		want int64
	}{
		{time.Time{}, 0},
		{time.Unix(-1, 0), 0},
		{time.Unix(0, 0), 0},
		{time.Unix(math.MaxInt64/2, 0), 99_999_999_999},
	} {
		mark, ok := n.Recognise(n.Name("d", "r", "l", tc.at))
		if !ok || mark.CreatedAt.Unix() != tc.want {
			t.Errorf("%v: recognised %v at %d, want %d", tc.at, ok, mark.CreatedAt.Unix(), tc.want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := key('a', 1)
	for name, tc := range map[string]struct {
		installation string
		keys         []username.Key
		current      byte
		want         string
	}{
		"no installation":    {"", []username.Key{good}, 'a', "installation id is empty"},
		"no keys":            {"i", nil, 'a', "current naming key 'a' is not among"},
		"unknown current":    {"i", []username.Key{good}, 'b', "current naming key 'b' is not among"},
		"id outside letters": {"i", []username.Key{key('1', 1)}, '1', "not one of a-z and 2-7"},
		"upper-case id":      {"i", []username.Key{key('A', 1)}, 'A', "not one of a-z and 2-7"},
		"high byte as id":    {"i", []username.Key{key(0xe4, 1)}, 0xe4, "not one of a-z and 2-7"},
		"short secret":       {"i", []username.Key{{ID: 'a', Secret: make([]byte, 31)}}, 'a', "31 bytes"},
		"twice":              {"i", []username.Key{good, key('a', 2)}, 'a', "given twice"},
	} {
		_, err := username.New(tc.installation, tc.keys, tc.current)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tc.want)
		}
	}
}

// An account outlives the key it was named under being current (B2).
func TestOlderKeysAreRecognised(t *testing.T) {
	t.Parallel()
	before := namer(t, "i", 'a', key('a', 1))
	after := namer(t, "i", 'b', key('a', 1), key('b', 2))
	dropped := namer(t, "i", 'b', key('b', 2))
	replaced := namer(t, "i", 'a', key('a', 3))
	at := time.Unix(1_700_000_000, 0)

	old := before.Name("d", "r", "l", at)
	if mark, ok := after.Recognise(old); !ok || mark.KeyID != 'a' {
		t.Errorf("name under the former key: recognised %v, key %q", ok, mark.KeyID)
	}
	if _, ok := dropped.Recognise(old); ok {
		t.Error("name under a key that is gone is recognised")
	}
	if _, ok := replaced.Recognise(old); ok {
		t.Error("name is recognised under another key of the same id")
	}
	if mark, ok := after.Recognise(after.Name("d", "r", "l", at)); !ok || mark.KeyID != 'b' {
		t.Errorf("name under the current key: recognised %v, key %q", ok, mark.KeyID)
	}
}

func TestForeignNamesAreNotRecognised(t *testing.T) {
	t.Parallel()
	n := namer(t, "i", 'a', key('a', 1))
	for _, name := range []string{
		"", "postgres", "v-", "v-root-readonly-LhJZR3NG1OHXbQHqNGTV-1795304195",
		"v-root-readonly-aaaaaaaaaaaaaaaaaaaa-1795304195",
		"v-root-readonly-aaaaaaaaaaaaaaaaaaaa-01",
		strings.Repeat("v", 1<<20),
		"v-root-readonly-aaaaaaaaaaaaaaaaaaaa-99999999999999999999999",
	} {
		if _, ok := n.Recognise(name); ok {
			t.Errorf("%.60q is recognised", name)
		}
	}
}

// Every name differing in one character is foreign, at every place, with every
// character that a name can hold; also one character shorter or longer. The
// names are fixed, so the outcome is the same at every run.
func TestNoNeighbourIsRecognised(t *testing.T) {
	t.Parallel()
	n := namer(t, "i", 'a', key('a', 1), key('b', 2))
	r := rand.New(rand.NewPCG(1, 2))
	for range 4 {
		name := n.Name(fmt.Sprint(r.Uint32()), fmt.Sprint(r.Uint32()), fmt.Sprint(r.Uint64()), time.Unix(1_795_304_195, 0))
		refuse := func(changed string) {
			if _, ok := n.Recognise(changed); ok {
				t.Errorf("%s is recognised, made from %s", changed, name)
			}
		}
		for i := range name {
			refuse(name[:i] + name[i+1:])
			for _, c := range nameChars + "A_\x00\"'" {
				refuse(name[:i] + string(c) + name[i:])
				if byte(c) != name[i] {
					refuse(name[:i] + string(c) + name[i+1:])
				}
			}
		}
	}
}

func TestLaws(t *testing.T) {
	t.Parallel()
	strict := regexp.MustCompile(`^v-[a-z0-9-]{1,8}-[a-z0-9-]{1,8}-[a-z2-7]{20}-[0-9]{1,11}$`)
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 32, 64).Draw(t, "secret")
		installation := rapid.StringN(1, 40, -1).Draw(t, "installation")
		keys := []username.Key{{ID: 'q', Secret: secret}}
		n, err := username.New(installation, keys, 'q')
		if err != nil {
			t.Fatal(err)
		}
		anything := rapid.OneOf(rapid.String(), rapid.Custom(func(t *rapid.T) string {
			return string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
		}))
		leaseID := anything.Draw(t, "lease")
		at := time.Unix(rapid.Int64Range(0, 99_999_999_999).Draw(t, "at"), 0)
		name := n.Name(anything.Draw(t, "display"), anything.Draw(t, "role"), leaseID, at)

		if !strict.MatchString(name) || len(name) > username.MaxLen || len(name) > 63 || strings.Contains(name, "--") {
			t.Fatalf("%q has not the shape of a name", name)
		}
		mark, ok := n.Recognise(name)
		if !ok {
			t.Fatalf("%q is not recognised", name)
		}
		if mark.LeaseHash != username.LeaseHash(leaseID) || mark.KeyID != 'q' || !mark.CreatedAt.Equal(at) {
			t.Fatalf("%q tells %+v", name, mark)
		}

		// One change each per run: 2^-35 times a hundred runs that a tag fits by chance.
		i := rapid.IntRange(0, len(name)-1).Draw(t, "place")
		c := nameChars[rapid.IntRange(0, len(nameChars)-1).Draw(t, "char")]
		if c != name[i] {
			if _, ok := n.Recognise(name[:i] + string(c) + name[i+1:]); ok {
				t.Fatalf("%q is recognised with %q at %d", name, c, i)
			}
		}
		other, err := username.New(installation+"'", keys, 'q')
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := other.Recognise(name); ok {
			t.Fatalf("%q is recognised by another installation", name)
		}
	})
}

func TestKeyHidesItsSecret(t *testing.T) {
	t.Parallel()
	k := username.Key{ID: 'a', Secret: []byte("very-secret-very-secret-very-secret")}
	nested := struct{ Keys []username.Key }{[]username.Key{k}}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, v := range []any{k, &k, nested} {
			out := fmt.Sprintf(verb, v)
			if strings.Contains(out, "very-secret") || strings.Contains(out, "118") || strings.Contains(out, "7665") || strings.Contains(out, "0x76") {
				t.Errorf("%s prints the secret: %s", verb, out)
			}
		}
	}
	if out, err := json.Marshal(nested); err != nil || strings.Contains(string(out), "Secret") {
		t.Errorf("JSON is %s, %v", out, err)
	}
}

func FuzzRecognise(f *testing.F) {
	n := namer(f, "installation-1", 'a', key('a', 1), key('b', 2))
	f.Add(n.Name("root", "readonly", "database/creds/readonly/x", time.Unix(1_795_304_195, 0)))
	f.Add("v-root-readonly-LhJZR3NG1OHXbQHqNGTV-1795304195")
	f.Add("v-a-b-aaaaaaaaaaaaaaaaaaaa-0")
	shape := regexp.MustCompile(`^v-[a-z0-9-]{1,8}-[a-z0-9-]{1,8}-[a-z2-7]{12}[ab][a-z2-7]{7}-(0|[1-9][0-9]{0,10})$`)
	f.Fuzz(func(t *testing.T, name string) {
		mark, ok := n.Recognise(name)
		if !ok {
			if mark != (username.Mark{}) {
				t.Fatalf("%q is refused, yet tells %+v", name, mark)
			}
			return
		}
		if !shape.MatchString(name) || !strings.Contains(name, "-"+mark.LeaseHash+string(mark.KeyID)) ||
			!strings.HasSuffix(name, fmt.Sprintf("-%d", mark.CreatedAt.Unix())) {
			t.Fatalf("%q is recognised as %+v", name, mark)
		}
	})
}

func BenchmarkRecognise(b *testing.B) {
	n := namer(b, "i", 'a', key('a', 1))
	name := n.Name("root", "readonly", "lease", time.Unix(1_795_304_195, 0))
	for b.Loop() {
		if _, ok := n.Recognise(name); !ok {
			b.Fatal("not recognised")
		}
	}
}
