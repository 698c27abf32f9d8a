package seal_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/seal"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, seal.KeySize) }

func ring(t interface{ Fatal(...any) }, keys ...byte) *seal.Keyring {
	var older [][]byte
	for _, b := range keys[1:] {
		older = append(older, key(b))
	}
	k, err := seal.New(key(keys[0]), older...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Law: what was sealed opens to the same, for its context and no other; any
// flipped bit and any cut is refused.
func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k := ring(t, 1)
	rapid.Check(t, func(t *rapid.T) {
		context, plain := rapid.String().Draw(t, "context"), rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		sealed := k.Seal(context, plain)
		if got, err := k.Open(context, sealed); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opened %x, %v; want %x", got, err, plain)
		}
		if len(plain) > 3 && bytes.Contains(sealed, plain) {
			t.Fatalf("the content is in the clear")
		}
		other := rapid.String().Filter(func(s string) bool { return s != context }).Draw(t, "other")
		if _, err := k.Open(other, sealed); !errors.Is(err, seal.ErrTampered) {
			t.Fatalf("another context: %v, want ErrTampered", err)
		}
		at := rapid.IntRange(0, len(sealed)-1).Draw(t, "at")
		bad := bytes.Clone(sealed)
		bad[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		if _, err := k.Open(context, bad); !errors.Is(err, seal.ErrTampered) && !errors.Is(err, seal.ErrUnknownKey) {
			t.Fatalf("byte %d flipped: %v", at, err)
		}
		if _, err := k.Open(context, sealed[:at]); err == nil {
			t.Fatalf("cut to %d bytes, it opened", at)
		}
	})
}

// Law: every byte counts, and the error says which kind of byte it was.
func TestEachFlippedByteFails(t *testing.T) {
	t.Parallel()
	k := ring(t, 1)
	sealed := k.Seal("connection/x/password", []byte("hunter2"))
	for at := range sealed {
		bad := bytes.Clone(sealed)
		bad[at] ^= 0xff
		want := seal.ErrTampered
		if at >= 1 && at < 9 {
			want = seal.ErrUnknownKey
		}
		if _, err := k.Open("connection/x/password", bad); !errors.Is(err, want) {
			t.Errorf("byte %d: %v, want %v", at, err, want)
		}
	}
}

// Law: sealing twice never gives the same.
func TestNoncesDiffer(t *testing.T) {
	t.Parallel()
	k := ring(t, 1)
	seen := map[string]bool{}
	for range 1000 {
		s := string(k.Seal("c", nil))
		if seen[s] {
			t.Fatal("two sealed values are equal")
		}
		seen[s] = true
	}
}

// Law: old keys open, the current one seals; a key that is not there is named.
func TestRotation(t *testing.T) {
	t.Parallel()
	old, both, after := ring(t, 1), ring(t, 2, 1), ring(t, 2)
	sealed := old.Seal("c", []byte("x"))
	if got, err := both.Open("c", sealed); err != nil || string(got) != "x" {
		t.Errorf("the old key: %q, %v", got, err)
	}
	if both.Current(sealed) || !both.Current(both.Seal("c", nil)) || both.Current(nil) {
		t.Error("Current does not tell the keys apart")
	}
	if got, err := after.Open("c", both.Seal("c", []byte("y"))); err != nil || string(got) != "y" {
		t.Errorf("sealed with both: %q, %v", got, err)
	}
	if _, err := after.Open("c", sealed); !errors.Is(err, seal.ErrUnknownKey) || !strings.Contains(err.Error(), old.KeyID()) {
		t.Errorf("a dropped key: %v, want ErrUnknownKey and %s", err, old.KeyID())
	}
	if _, err := seal.New(key(1), key(1)); err == nil {
		t.Error("a key was taken twice")
	}
	if _, err := seal.New(make([]byte, 16)); err == nil {
		t.Error("a short key was taken")
	}
}

// Law: derived keys differ by purpose and by master key, and stay the same.
func TestDerive(t *testing.T) {
	t.Parallel()
	k := ring(t, 2, 1)
	seen := map[string]string{}
	for _, b := range []byte{1, 2} {
		for _, purpose := range []string{"token", "naming", ""} {
			d := string(ring(t, b).Derive(purpose))
			name := fmt.Sprint(b, purpose)
			if other, taken := seen[d]; taken || len(d) != seal.KeySize {
				t.Errorf("%s: %d bytes, the same as %q", name, len(d), other)
			}
			seen[d] = name
		}
	}
	each := k.DeriveEach("token")
	if len(each) != 2 || seen[string(each[0])] != "2token" || seen[string(each[1])] != "1token" || !bytes.Equal(each[0], k.Derive("token")) {
		t.Error("DeriveEach is not the current key's, then the older one's")
	}
	// Golden: a change of the derivation would lock everybody out.
	if got, want := hex.EncodeToString(ring(t, 1).Derive("token")), goldenDerived; got != want {
		t.Errorf("the key derived for token is %s, want %s", got, want)
	}
	defer func() {
		if recover() == nil {
			t.Error("the key that seals was given away")
		}
	}()
	k.Derive("seal")
}

// Golden: what this version sealed must open for ever.
func TestFormatStays(t *testing.T) {
	t.Parallel()
	sealed, err := hex.DecodeString(goldenSealed)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ring(t, 1).Open("connection/x/password", sealed); err != nil || string(got) != "hunter2" {
		t.Errorf("opened %q, %v", got, err)
	}
	if ring(t, 1).KeyID() != goldenSealed[2:18] {
		t.Errorf("the key id is %s", ring(t, 1).KeyID())
	}
}

// Law: no verb shows a key.
func TestKeyringHidesItself(t *testing.T) {
	t.Parallel()
	k, err := seal.New(bytes.Repeat([]byte("Sesame!!"), 4))
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		shown := fmt.Sprintf(verb, k) + fmt.Sprintf(verb, struct{ K *seal.Keyring }{k})
		if strings.Contains(shown, "Sesame") || strings.Contains(shown, hex.EncodeToString([]byte("Sesame"))) || strings.Contains(shown, "83 101 115") {
			t.Errorf("%s shows %s", verb, shown)
		}
	}
}

func file(t *testing.T, text string, mode fs.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	inHex, in64 := hex.EncodeToString(key(1)), base64.StdEncoding.EncodeToString(key(2))
	for _, c := range []struct {
		name, text string
		mode       fs.FileMode
		current    byte // 0: refused
	}{
		{"hex", inHex, 0o600, 1},
		{"base64", in64 + "\n", 0o400, 2},
		{"several, comments", "# the new one\n\n" + in64 + "\r\n  " + inHex + "\n", 0o600, 2},
		{"for the group", inHex, 0o640, 0},
		{"for all", inHex, 0o604, 0},
		{"empty", "\n# none\n", 0o600, 0},
		{"short", inHex[:62], 0o600, 0},
		{"long", inHex + "00", 0o600, 0},
		{"no key", "correct horse battery staple", 0o600, 0},
		{"twice", inHex + "\n" + inHex, 0o600, 0},
		{"huge", strings.Repeat("#", 70<<10), 0o600, 0},
	} {
		k, err := seal.Load(file(t, c.text, c.mode))
		switch {
		case c.current == 0 && !errors.Is(err, seal.ErrKeyFile):
			t.Errorf("%s: %v, want ErrKeyFile", c.name, err)
		case c.current != 0 && (err != nil || k.KeyID() != ring(t, c.current).KeyID()):
			t.Errorf("%s: %v, %v", c.name, k, err)
		}
		if err != nil && (strings.Contains(err.Error(), "horse") || strings.Contains(err.Error(), inHex[:16])) {
			t.Errorf("%s: the error shows the content: %v", c.name, err)
		}
	}
	if _, err := seal.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if _, err := seal.Load(t.TempDir()); err == nil {
		t.Error("a directory was loaded")
	}
}

// Law: a key file is made once, for its owner only, and not overwritten.
func TestKeyFileIsCreatedOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	var mu sync.Mutex
	ids := map[string]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			k, err := seal.LoadOrCreate(path)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[k.KeyID()]++
		})
	}
	wg.Wait()
	if len(ids) != 1 {
		t.Errorf("keys are %v, want one", ids)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if info, err := files[0].Info(); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := seal.LoadOrCreate(path); !errors.Is(err, seal.ErrKeyFile) {
		t.Errorf("a file for all: %v, want ErrKeyFile", err)
	}
	if _, err := seal.LoadOrCreate(filepath.Join(dir, "none", "key")); err == nil {
		t.Error("a key was made in a directory that is not there")
	}
}

// Law: foreign bytes never open and never panic.
func FuzzOpen(f *testing.F) {
	k := ring(f, 1)
	f.Add("c", []byte{})
	f.Add("c", k.Seal("c", []byte("x"))[:20])
	f.Add("c", ring(f, 2).Seal("c", []byte("x")))
	f.Fuzz(func(t *testing.T, context string, sealed []byte) {
		if plain, err := k.Open(context, sealed); err == nil || plain != nil {
			t.Errorf("%x opened to %q", sealed, plain)
		}
	})
}
