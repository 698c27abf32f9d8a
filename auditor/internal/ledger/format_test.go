package ledger

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"
)

func testKey() signingKey {
	return newSigningKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)), "test")
}

func signCheckpoint(tb testing.TB, key signingKey, text string, fence uint64, name string) []byte {
	tb.Helper()
	raw, err := note.Sign(&note.Note{Text: text}, key.plainSigner(name), key.fenceSigner(name, fence))
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

const rootText = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

func TestPublicKeyText(t *testing.T) {
	t.Parallel()
	key := testKey().public
	parsed, err := ParsePublicKey(key.String() + "\n")
	if err != nil || parsed.String() != key.String() || parsed.Installation() != "test" {
		t.Fatalf("%v, %v", parsed, err)
	}
	if !strings.HasPrefix(key.EpochVerifierKey(3), "curfew/test/3+") || key.Origin(3) != "curfew/test/3" {
		t.Fatalf("%q", key.EpochVerifierKey(3))
	}
	foreign, err := note.NewEd25519VerifierKey("example.org/log", testKey().public.key)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "curfew/test", foreign, strings.Replace(key.String(), "test", "tesu", 1)} {
		if _, err := ParsePublicKey(text); err == nil {
			t.Errorf("%q is a public key", text)
		}
	}
}

// D5: a checkpoint says under which fencing number it was signed, and the
// number cannot be changed without the key.
func TestCheckpointCarriesItsFence(t *testing.T) {
	t.Parallel()
	key := testKey()
	origin := key.public.Origin(4)
	raw := signCheckpoint(t, key, origin+"\n12\n"+rootText+"\n", 9, origin)
	cp, err := parseOwnCheckpoint(key.public, 4, raw)
	if err != nil || cp.Epoch != 4 || cp.Size != 12 || cp.Fence != 9 || !bytes.Equal(cp.Raw, raw) {
		t.Fatalf("%+v, %v", cp, err)
	}
	// Any C2SP tool opens it with the plain key.
	plain, err := note.NewVerifier(key.public.EpochVerifierKey(4))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := note.Open(raw, note.VerifierList(plain)); err != nil {
		t.Fatal(err)
	}
	// The fencing signature of number 9 is not one of number 10, nor of a
	// text that begins with what it signs.
	sig, err := key.fenceSigner(origin, 9).Sign([]byte("x\n"))
	if err != nil {
		t.Fatal(err)
	}
	v := key.public.fenceVerifier(origin)
	if !v.Verify([]byte("x\n"), sig) {
		t.Fatal("the fencing signature does not verify")
	}
	sig[7]++
	if v.Verify([]byte("x\n"), sig) || ed25519.Verify(key.public.key, []byte("x\n"), sig[8:]) {
		t.Fatal("the fencing number can be changed")
	}
}

func TestCheckpointsThatAreNot(t *testing.T) {
	t.Parallel()
	key := testKey()
	good := "curfew/test/4\n12\n" + rootText + "\n"
	one := func(text string, signers ...note.Signer) []byte {
		raw, err := note.Sign(&note.Note{Text: text}, signers...)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	for name, raw := range map[string][]byte{
		"empty":         nil,
		"no signature":  []byte(good),
		"plain only":    one(good, key.plainSigner("curfew/test/4")),
		"fence only":    one(good, key.fenceSigner("curfew/test/4", 1)),
		"other origin":  signCheckpoint(t, key, "curfew/other/4\n12\n"+rootText+"\n", 1, "curfew/other/4"),
		"other name":    signCheckpoint(t, key, good, 1, "curfew/test/5"),
		"epoch 0":       signCheckpoint(t, key, "curfew/test/0\n12\n"+rootText+"\n", 1, "curfew/test/0"),
		"epoch 04":      signCheckpoint(t, key, "curfew/test/04\n12\n"+rootText+"\n", 1, "curfew/test/04"),
		"the manifest":  signCheckpoint(t, key, "curfew/test/segments\nfence 1\n", 1, "curfew/test/segments"),
		"short root":    signCheckpoint(t, key, "curfew/test/4\n12\nAAAA\n", 1, "curfew/test/4"),
		"extension":     signCheckpoint(t, key, good+"more\n", 1, "curfew/test/4"),
		"size too big":  signCheckpoint(t, key, "curfew/test/4\n18446744073709551615\n"+rootText+"\n", 1, "curfew/test/4"),
		"size negative": signCheckpoint(t, key, "curfew/test/4\n-1\n"+rootText+"\n", 1, "curfew/test/4"),
	} {
		if cp, err := ParseCheckpoint(key.public, raw); err == nil {
			t.Errorf("%s: %+v", name, cp)
		}
	}
	if _, err := parseOwnCheckpoint(key.public, 5, signCheckpoint(t, key, good, 1, "curfew/test/4")); err == nil {
		t.Error("another epoch's checkpoint was taken")
	}
	// A witness may cosign what an outsider keeps, but nothing is added to
	// the file in the ledger.
	witness := newSigningKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), "witness")
	raw := one(good, key.plainSigner("curfew/test/4"), key.fenceSigner("curfew/test/4", 1), witness.plainSigner("witness"))
	if _, err := ParseCheckpoint(key.public, raw); err != nil {
		t.Errorf("cosigned: %v", err)
	}
	if _, err := parseOwnCheckpoint(key.public, 4, raw); err == nil {
		t.Error("a signature line was added to the ledger's own file")
	}
}

func TestManifestRoundTrip(t *testing.T) {
	t.Parallel()
	key := testKey()
	rapid.Check(t, func(rt *rapid.T) {
		m := manifest{fence: rapid.Uint64().Draw(rt, "fence")}
		for _, epoch := range rapid.SliceOfNDistinct(rapid.Int64Range(1, 1<<40), 0, 5, rapid.ID).Draw(rt, "epochs") {
			m.record(epoch, rapid.Uint64Range(0, 1<<62).Draw(rt, "size"), rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "root"))
		}
		dir := t.TempDir()
		if err := m.write(dir, key); err != nil {
			rt.Fatal(err)
		}
		got, err := readManifest(dir, key.public)
		if err != nil || got.text("x") != m.text("x") {
			rt.Fatalf("%+v became %+v, %v", m, got, err)
		}
		for _, s := range m.segments {
			if found, ok := got.find(s.epoch); !ok || found.size != s.size {
				rt.Fatalf("epoch %d is not found in %+v", s.epoch, got)
			}
		}
	})
}

func TestManifestSizesNeverGoBack(t *testing.T) {
	t.Parallel()
	var m manifest
	m.record(1, 10, []byte("ten"))
	m.record(1, 9, []byte("nine"))
	if s, ok := m.find(1); !ok || s.size != 10 || string(s.root) != "ten" {
		t.Fatalf("%+v", m)
	}
}

func TestLibraryLinesBecomeStructured(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"I0102 15:04:05.000000       1 file.go:12] all is well\n":  `{"level":"debug","detail":"all is well","message":"transparency log library"}`,
		"W0102 15:04:05.000000       1 file.go:12] publish: oh]\n": `{"level":"warn","detail":"publish: oh]","message":"transparency log library"}`,
		"E0102 15:04:05.000000       1 file.go:12] no\n":           `{"level":"error","detail":"no","message":"transparency log library"}`,
		"Odd line": `{"level":"debug","detail":"Odd line","message":"transparency log library"}`,
	} {
		var out bytes.Buffer
		if n, err := (libraryLines{log: zerolog.New(&out)}).Write([]byte(line)); err != nil || n != len(line) {
			t.Errorf("%q: %d, %v", line, n, err)
		}
		if got := strings.TrimSpace(out.String()); got != want {
			t.Errorf("%q became %s, want %s", line, got, want)
		}
	}
}

// What is parsed without a signature does not panic, and what parses is what
// the ledger would write.
func FuzzBundleAndTile(f *testing.F) {
	f.Add([]byte{0, 1, 'a', 0, 0}, 2)
	f.Add(bytes.Repeat([]byte{1}, 64), 2)
	f.Fuzz(func(t *testing.T, raw []byte, width int) {
		width = 1 + (width&0xff+0xff)&0xff
		if hashes, err := parseBundle(raw, width); len(hashes) > width || err == nil && len(hashes) != width {
			t.Fatalf("%d hashes for %d entries, %v", len(hashes), width, err)
		}
		nodes, err := parseTile(raw, width)
		if err == nil && !bytes.Equal(bytes.Join(nodes, nil), raw) {
			t.Fatal("a tile lost bytes")
		}
	})
}

// No bytes make a checkpoint, a manifest or a key unless they are signed; the
// corpus holds signed ones, so that mutation begins next to them.
func FuzzSignedFiles(f *testing.F) {
	key := testKey()
	cp := signCheckpoint(f, key, "curfew/test/4\n12\n"+rootText+"\n", 9, "curfew/test/4")
	list := signCheckpoint(f, key, "curfew/test/segments\nfence 2\nsegment 1 5 "+rootText+"\n", 2, "curfew/test/segments")
	f.Add(cp)
	f.Add(list)
	f.Add([]byte(key.public.String()))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got, err := parseOwnCheckpoint(key.public, 4, raw); err == nil && !bytes.Equal(raw, cp) {
			t.Fatalf("forged checkpoint %+v", got)
		}
		if got, err := parseManifest(raw, key.public); err == nil && !bytes.Equal(raw, list) {
			t.Fatalf("forged manifest %+v", got)
		}
		if k, err := ParsePublicKey(string(raw)); err == nil && k.String() != strings.TrimSuffix(string(raw), "\n") {
			t.Fatalf("%q is not the text of %q", raw, k)
		}
	})
}
