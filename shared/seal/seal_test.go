package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/seal"
)

func master(fill byte) []byte { return bytes.Repeat([]byte{fill}, seal.KeySize) }

func ring(t interface{ Fatal(...any) }, masters ...[]byte) *seal.Keyring {
	r, err := seal.New(masters...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Laws: what was sealed opens to itself; no flipped byte, no cut, no other
// context and no other key opens it.
func TestSealLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := ring(t, master(1))
		text := rapid.SliceOf(rapid.Byte()).Draw(t, "text")
		about := rapid.String().Draw(t, "about")
		sealed, err := r.Seal(text, about)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Open(sealed, about); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("open: %v", err)
		}
		if len(text) > 8 && bytes.Contains(sealed, text) {
			t.Fatal("the text stands in the sealed one")
		}
		if _, err := r.Open(sealed, about+"x"); !errors.Is(err, seal.ErrTampered) {
			t.Fatalf("another context: %v", err)
		}
		bent := bytes.Clone(sealed)
		i := rapid.IntRange(0, len(bent)-1).Draw(t, "at")
		bent[i] ^= byte(rapid.IntRange(1, 255).Draw(t, "flip"))
		if _, err := r.Open(bent, about); !errors.Is(err, seal.ErrTampered) && !errors.Is(err, seal.ErrUnknownKey) {
			t.Fatalf("flipped byte %d: %v", i, err)
		}
		if _, err := r.Open(sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "cut")], about); err == nil {
			t.Fatal("a cut text opens")
		}
		if _, err := ring(t, master(2)).Open(sealed, about); !errors.Is(err, seal.ErrUnknownKey) {
			t.Fatalf("another key: %v", err)
		}
	})
}

func TestRotation(t *testing.T) {
	t.Parallel()
	before := ring(t, master(1))
	sealed, err := before.Seal([]byte("text"), "c")
	if err != nil {
		t.Fatal(err)
	}
	after := ring(t, master(2), master(1))
	if got, err := after.Open(sealed, "c"); err != nil || string(got) != "text" {
		t.Errorf("the old key does not open: %v", err)
	}
	again, err := after.Seal([]byte("text"), "c")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.Open(again, "c"); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("the new ring seals with the old key: %v", err)
	}
}

func TestDerive(t *testing.T) {
	t.Parallel()
	r := ring(t, master(1))
	a, _ := r.Derive("a")
	again, _ := r.Derive("a")
	b, _ := r.Derive("b")
	other, _ := ring(t, master(2)).Derive("a")
	if !bytes.Equal(a, again) || bytes.Equal(a, b) || bytes.Equal(a, other) || len(a) != seal.KeySize {
		t.Error("derived keys are not a function of master key and purpose")
	}
}

func TestKeysAreHidden(t *testing.T) {
	t.Parallel()
	r := ring(t, bytes.Repeat([]byte("k"), seal.KeySize))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, r); strings.Contains(s, "kkkk") || strings.Contains(s, "107") {
			t.Errorf("%s shows the key: %s", verb, s)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seal.key")
	r, err := seal.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode is %v, %v", info.Mode(), err)
	}
	sealed, _ := r.Seal([]byte("text"), "c")
	again, err := seal.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(sealed, "c"); err != nil || string(got) != "text" {
		t.Errorf("the file was made anew: %v", err)
	}
}

func TestFileRefused(t *testing.T) {
	t.Parallel()
	good := base64.StdEncoding.EncodeToString(master(7))
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		says string
	}{
		"open to others": {good, 0o640, "make it 0600"},
		"empty":          {"# nothing\n", 0o600, "holds no key"},
		"not base64":     {"not-a-key!", 0o600, "line 1"},
		"short":          {base64.StdEncoding.EncodeToString([]byte("short")), 0o600, "line 1"},
		"too long":       {strings.Repeat("#", 5000), 0o600, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "key")
			if err := os.WriteFile(path, []byte(tc.text), tc.mode); err != nil {
				t.Fatal(err)
			}
			_, err := seal.LoadOrCreate(path)
			if err == nil || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "not-a-key") {
				t.Errorf("error is %v, want one that says %q and not the content", err, tc.says)
			}
			if text, _ := os.ReadFile(path); string(text) != tc.text {
				t.Error("the file was changed")
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	r, err := seal.New(master(1))
	if err != nil {
		f.Fatal(err)
	}
	sealed, _ := r.Seal([]byte("text"), "c")
	f.Add(sealed)
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := r.Open(b, "c"); err == nil && string(got) != "text" {
			t.Errorf("opened to %q", got)
		}
	})
}
