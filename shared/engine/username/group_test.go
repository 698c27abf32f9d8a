package username_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/engine/username"
)

// As with accounts, a change of the derivation would leave group roles behind.
func TestGroupNameIsStable(t *testing.T) {
	t.Parallel()
	n := namer(t, "installation-1", 'a', key('a', 1))
	const want = "curfew-grants-app-read-xtusnkwk6sam-a3rbishb-1693258841"
	if got := n.Group("app-readonly", "9aJq0cVbX2kLmN4pQrSt", time.Unix(1693258841, 0)); got != want {
		t.Fatalf("name\n got %s\nwant %s", got, want)
	}
}

// What accounts may look like, to who lists a target.
var accountShape = regexp.MustCompile("[a-z2-7]{20}")

func TestGroupNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		role, id := rapid.String().Draw(t, "role"), rapid.String().Draw(t, "id")
		at := time.Unix(rapid.Int64().Draw(t, "unix"), 0)
		n, err := username.New("one", []username.Key{key('a', 1), key('b', 2)}, 'b')
		if err != nil {
			t.Fatal(err)
		}
		name := n.Group(role, id, at)
		created, ok := n.RecogniseGroup(name)
		if !ok || len(name) > 56 || !strings.HasPrefix(name, username.GroupPrefix) || name != n.Group(role, id, at) {
			t.Fatalf("%q is not recognised", name)
		}
		if unix := at.Unix(); unix >= 0 && unix < 99_999_999_999 && created.Unix() != unix {
			t.Fatalf("made at %v, want %v", created, at)
		}
		if _, ok := n.Recognise(name); ok || accountShape.MatchString(name) {
			t.Fatalf("%q looks like an account", name)
		}
		if _, ok := n.RecogniseGroup(n.Name(role, role, id, at)); ok {
			t.Fatal("an account is taken for a group role")
		}
		for _, other := range []*username.Namer{namerOf(t, "two", key('b', 2)), namerOf(t, "one", key('b', 3)), namerOf(t, "one", key('a', 2))} {
			if _, ok := other.RecogniseGroup(name); ok {
				t.Fatalf("%q is recognised by another installation or key", name)
			}
		}
		i := rapid.IntRange(0, len(name)-1).Draw(t, "changed")
		c := rapid.Byte().Draw(t, "to")
		if changed := name[:i] + string([]byte{c}) + name[i+1:]; changed != name {
			if _, ok := n.RecogniseGroup(changed); ok {
				t.Fatalf("%q is recognised after a change of %q", changed, name)
			}
		}
	})
}

func namerOf(t *rapid.T, installation string, k username.Key) *username.Namer {
	n, err := username.New(installation, []username.Key{k}, k.ID)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
