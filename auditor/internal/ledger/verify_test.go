package ledger

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"
)

// fixture is a closed ledger with two segments whose files include superseded
// partial ones, and a checkpoint of epoch 1 that an outsider kept.
type fixture struct {
	dir     string
	key     PublicKey
	earlier []byte
	sizes   map[int64]int64
}

func newFixture(tb testing.TB) fixture {
	tb.Helper()
	f := fixture{dir: tb.TempDir(), sizes: map[int64]int64{1: 0, 2: 0}}
	for epoch, steps := range map[int64][]int64{1: {100, 130, 256, 300, 700, 711}, 2: {3, 40}} {
		for i, to := range steps {
			l := mustOpen(tb, f.dir)
			mustAppend(tb, l, epoch, f.sizes[epoch]+1, to)
			mustClose(tb, l)
			f.sizes[epoch], f.key = to, l.Key()
			if epoch == 1 && i == 3 {
				f.earlier = mustRead(tb, filepath.Join(f.dir, segmentName(1), "checkpoint"))
			}
		}
	}
	return f
}

// copyTo makes a copy that a test may harm.
func (f fixture) copyTo(tb testing.TB) fixture {
	tb.Helper()
	dir := tb.TempDir()
	if err := os.CopyFS(dir, os.DirFS(f.dir)); err != nil {
		tb.Fatal(err)
	}
	f.dir = dir
	return f
}

// record lists the files whose bytes are the record, relative to the ledger.
// Locks, the private key and the library's note of what it has collected are
// not: no statement about the entries depends on them (see doc.go).
func (f fixture) record(tb testing.TB) []string {
	tb.Helper()
	var files []string
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name := d.Name()
		if name == lockFileName || strings.HasSuffix(name, ".lock") || name == keyFileName || name == "gcState" {
			return nil
		}
		rel, err := filepath.Rel(f.dir, path)
		files = append(files, rel)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

func (f fixture) verify(tb testing.TB, earlier ...[]byte) Report {
	tb.Helper()
	report, err := Verify(tb.Context(), f.dir, f.key, earlier...)
	if err != nil {
		tb.Fatal(err)
	}
	return report
}

func names(report Report, path string) bool {
	for _, d := range report.Damages {
		if d.Path == path {
			return true
		}
	}
	return false
}

func TestVerifySoundLedger(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	report := checkSound(t, f.dir, f.key, f.earlier)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if len(report.Segments) != 2 {
		t.Fatalf("%d segments", len(report.Segments))
	}
	for _, s := range report.Segments {
		if s.Size != f.sizes[s.Epoch] || s.Unsigned != 0 {
			t.Errorf("epoch %d: %d entries and %d unsigned, want %d", s.Epoch, s.Size, s.Unsigned, f.sizes[s.Epoch])
		}
	}
}

// The checker that the library's authors wrote agrees: any C2SP tlog-tiles tool
// can verify a segment.
func TestForeignCheckerAgrees(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	verifier, err := note.NewVerifier(f.key.EpochVerifierKey(1))
	if err != nil {
		t.Fatal(err)
	}
	segment := filepath.Join(f.dir, segmentName(1))
	leafHashes := func(raw []byte) ([][]byte, error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(raw); err != nil {
			return nil, err
		}
		var hashes [][]byte
		for _, e := range b.Entries {
			hashes = append(hashes, rfc6962.DefaultHasher.HashLeaf(e))
		}
		return hashes, nil
	}
	check := func() error {
		files := client.FileFetcher{Root: segment}
		return fsck.New(f.key.Origin(1), verifier, files, leafHashes, fsck.Opts{N: 16}).Check(t.Context())
	}
	if err := check(); err != nil {
		t.Fatal(err)
	}
	// (With fewer workers than damaged tiles this checker would hang.)
	flip(t, filepath.Join(segment, "tile/entries/000"), 500)
	if check() == nil {
		t.Fatal("the foreign checker sees nothing")
	}
}

// One bit of one byte of any file of the record is changed: Verify names that
// file, and nothing else than the file or what the file speaks of.
func TestVerifyNamesTheChangedByte(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	files := f.record(t)
	harmed := f.copyTo(t)
	classes := map[string]int{}
	check := func(file string, at int, mask byte) error {
		path := filepath.Join(harmed.dir, file)
		raw := mustRead(t, path)
		sound := bytes.Clone(raw)
		raw[at] ^= mask
		mustWrite(t, path, raw)
		report := harmed.verify(t)
		mustWrite(t, path, sound)
		if !names(report, file) {
			return fmt.Errorf("byte %d of %s changed by %#x: reported %v", at, file, mask, report.Damages)
		}
		for _, d := range report.Damages {
			if d.Path != file {
				return fmt.Errorf("byte %d of %s changed by %#x: also blamed %s", at, file, mask, d)
			}
		}
		classes[class(file)]++
		return nil
	}
	for _, file := range files { // every file once, whatever is drawn below
		if err := check(file, len(mustRead(t, filepath.Join(f.dir, file)))/2, 0x10); err != nil {
			t.Error(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		file := rapid.SampledFrom(files).Draw(rt, "file")
		at := rapid.IntRange(0, len(mustRead(t, filepath.Join(f.dir, file)))-1).Draw(rt, "at")
		if err := check(file, at, byte(1)<<rapid.IntRange(0, 7).Draw(rt, "bit")); err != nil {
			rt.Fatal(err)
		}
	})
	for _, want := range []string{"bundle", "partial bundle", "tile", "partial tile", "checkpoint", "manifest", "checkpoint.pub", "treeState", "version"} {
		if classes[want] == 0 {
			t.Errorf("no file of class %q was changed", want)
		}
	}
}

func class(file string) string {
	partial := ""
	if strings.Contains(file, ".p"+string(filepath.Separator)) {
		partial = "partial "
	}
	switch {
	case strings.Contains(file, "tile/entries"):
		return partial + "bundle"
	case strings.Contains(file, "tile/"):
		return partial + "tile"
	}
	return filepath.Base(file)
}

// Every byte of the small files that one statement hangs on.
func TestVerifyEveryByteOfTheSignedFiles(t *testing.T) {
	t.Parallel()
	f := fixture{dir: t.TempDir()}
	l := mustOpen(t, f.dir)
	mustAppend(t, l, 2, 1, 5)
	mustClose(t, l)
	f.key = l.Key()
	for _, file := range []string{manifestFileName, publicFileName, "epoch-0002/checkpoint", "epoch-0002/.state/treeState"} {
		path := filepath.Join(f.dir, file)
		sound := mustRead(t, path)
		for at := range sound {
			raw := bytes.Clone(sound)
			raw[at] ^= 1 << (at % 8)
			mustWrite(t, path, raw)
			if report := f.verify(t); !names(report, file) {
				t.Errorf("byte %d of %s: %v", at, file, report.Damages)
			}
		}
		mustWrite(t, path, sound)
		for cut := range len(sound) {
			mustWrite(t, path, sound[:cut])
			if report := f.verify(t); !names(report, file) {
				t.Fatalf("%s cut to %d bytes: %v", file, cut, report.Damages)
			}
		}
		mustWrite(t, path, sound)
	}
	checkSound(t, f.dir, f.key)
}

// Where the bytes of one entry are changed, that entry is named, exactly.
func TestVerifyNamesTheEntry(t *testing.T) {
	t.Parallel()
	f := newFixture(t).copyTo(t)
	path := filepath.Join(f.dir, "epoch-0001/tile/entries/001")
	sound := mustRead(t, path)
	for n := int64(257); n <= 512; n += 15 {
		raw := bytes.Clone(sound)
		at := bytes.Index(raw, entryData(1, n))
		if at < 0 {
			t.Fatalf("entry %d is not in the bundle", n)
		}
		raw[at+3] ^= 0x20
		mustWrite(t, path, raw)
		want := Damage{Epoch: 1, First: n, Last: n, Path: "epoch-0001/tile/entries/001"}
		got := f.verify(t).Damages
		if len(got) != 1 || got[0].Epoch != 1 || got[0].First != n || got[0].Last != n || got[0].Path != want.Path {
			t.Errorf("entry %d changed: reported %v", n, got)
		}
	}
}

// Several damages at once are all named, and no sound file is blamed.
func TestVerifyNamesSeveralPlaces(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	var files []string
	for _, file := range f.record(t) {
		if strings.Contains(file, "tile/") {
			files = append(files, file)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		harmed := f.copyTo(t)
		chosen := map[string]bool{}
		// At most one of what speaks of the same entries: bundle 0, 1 or 2.
		for i := range 3 {
			var group []string
			for _, file := range files {
				if strings.Contains(file, fmt.Sprintf("epoch-0001/tile/entries/%03d", i)) || strings.Contains(file, fmt.Sprintf("epoch-0001/tile/0/%03d", i)) {
					group = append(group, file)
				}
			}
			file := rapid.SampledFrom(group).Draw(rt, "file")
			raw := mustRead(t, filepath.Join(harmed.dir, file))
			raw[rapid.IntRange(0, len(raw)-1).Draw(rt, "at")] ^= 1
			mustWrite(t, filepath.Join(harmed.dir, file), raw)
			chosen[file] = true
		}
		report := harmed.verify(t)
		for file := range chosen {
			if !names(report, file) {
				rt.Errorf("%s is not named: %v", file, report.Damages)
			}
		}
		for _, d := range report.Damages {
			if !chosen[d.Path] {
				rt.Errorf("blamed without cause: %s (changed: %v)", d, chosen)
			}
		}
	})
}
