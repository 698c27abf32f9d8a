package ledger

import (
	"bytes"
	"context"
	"errors"
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

func newFixture(t testing.TB) fixture {
	t.Helper()
	f := fixture{dir: t.TempDir(), sizes: map[int64]int64{1: 0, 2: 0}}
	for epoch, steps := range map[int64][]int64{1: {100, 130, 256, 300, 700, 711}, 2: {3, 40}} {
		for i, to := range steps {
			l := mustOpen(t, f.dir)
			mustAppend(t, l, epoch, f.sizes[epoch]+1, to)
			mustClose(t, l)
			f.sizes[epoch], f.key = to, l.Key()
			if epoch == 1 && i == 3 {
				f.earlier = mustRead(t, filepath.Join(f.dir, segmentName(1), "checkpoint"))
			}
		}
	}
	return f
}

// copyTo makes a copy that a test may harm.
func (f fixture) copyTo(t testing.TB) fixture {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(f.dir)); err != nil {
		t.Fatal(err)
	}
	f.dir = dir
	return f
}

// record lists the files whose bytes are the record, relative to the ledger.
// Locks, the private key and the library's note of what it has collected are
// not: no statement about the entries depends on them (see doc.go).
func (f fixture) record(t testing.TB) []string {
	t.Helper()
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
		t.Fatal(err)
	}
	return files
}

func (f fixture) verify(t testing.TB, earlier ...[]byte) Report {
	t.Helper()
	report, err := Verify(t.Context(), f.dir, f.key, earlier...)
	if err != nil {
		t.Fatal(err)
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
	f := newFixture(t).copyTo(t)
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

func TestVerifyMissesWhatWasRemoved(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, c := range []struct {
		remove string
		want   Damage // with the path that must be named, and the entries if any
	}{
		{"epoch-0001/tile/entries/002.p/199", Damage{Epoch: 1, First: 513, Last: 711}},
		{"epoch-0001/tile/entries/001", Damage{Epoch: 1, First: 257, Last: 512}},
		{"epoch-0001/tile/0/000", Damage{Epoch: 1, First: 1, Last: 256}},
		{"epoch-0001/tile/0/002.p/199", Damage{Epoch: 1, First: 513, Last: 711}},
		{"epoch-0001/tile/1/000.p/2", Damage{Epoch: 1, First: 1, Last: 512}},
		{"epoch-0001/checkpoint", Damage{Epoch: 1}},
		{"epoch-0001/.state/treeState", Damage{Epoch: 1}},
		{"epoch-0001/.state/version", Damage{Epoch: 1}},
		{"epoch-0002", Damage{Epoch: 2, First: 1, Last: 40}},
		{"manifest", Damage{}},
		{"checkpoint.pub", Damage{}},
	} {
		t.Run(strings.ReplaceAll(c.remove, "/", ":"), func(t *testing.T) {
			t.Parallel()
			harmed := f.copyTo(t)
			mustRemove(t, filepath.Join(harmed.dir, c.remove))
			report := harmed.verify(t)
			found := false
			for _, d := range report.Damages {
				found = found || d.Path == c.remove && d.Epoch == c.want.Epoch && d.First == c.want.First && d.Last == c.want.Last
			}
			if !found || !errors.Is(report.Err(), ErrDamaged) {
				t.Fatalf("reported %v, want %+v at %s", report.Damages, c.want, c.remove)
			}
		})
	}
}

// The tail is cut and everything unsigned is made to fit: the checkpoint tells.
func TestVerifySeesACutTail(t *testing.T) {
	t.Parallel()
	f := newFixture(t).copyTo(t)
	segment := filepath.Join(f.dir, segmentName(1))
	root, err := newView(segment, 711).rootAt(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	mustWrite(t, statePath(segment), stateJSON(600, root))
	mustRemove(t, filepath.Join(segment, "tile/entries/002.p"))
	report := f.verify(t)
	if !names(report, "epoch-0001/.state/treeState") || !names(report, "epoch-0001/tile/entries/002.p/199") {
		t.Fatalf("reported %v", report.Damages)
	}
}

func stateJSON(size uint64, root []byte) []byte {
	return fmt.Appendf(nil, `{"size":%d,"root":"%s"}`, size, base64Of(root))
}

// A whole consistent older ledger is put in place: its signatures are good, and
// the manifest or an outsider's checkpoint tells.
func TestVerifySeesARollback(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	l := mustOpen(t, base)
	mustAppend(t, l, 1, 1, 300)
	mustClose(t, l)
	old := fixture{dir: base, key: l.Key()}.copyTo(t)
	l = mustOpen(t, base)
	mustAppend(t, l, 1, 301, 500)
	mustClose(t, l)
	kept := mustRead(t, filepath.Join(base, "epoch-0001/checkpoint"))

	// All of it: only the outsider can know.
	checkSound(t, old.dir, old.key)
	want := Damage{Epoch: 1, First: 301, Last: 500, Path: "epoch-0001/checkpoint"}
	got := old.verify(t, kept).Damages
	if len(got) == 0 || got[0].First != want.First || got[0].Last != want.Last || got[0].Path != want.Path {
		t.Fatalf("reported %v", got)
	}

	// The segment, but not the manifest.
	mixed := old.copyTo(t)
	mustWrite(t, filepath.Join(mixed.dir, manifestFileName), mustRead(t, filepath.Join(base, manifestFileName)))
	if got := mixed.verify(t).Damages; len(got) != 1 || got[0].First != 301 || got[0].Last != 500 {
		t.Fatalf("reported %v", got)
	}

	// The checkpoint alone; then the manifest alone.
	mixed = fixture{dir: base, key: l.Key()}.copyTo(t)
	mustWrite(t, filepath.Join(mixed.dir, "epoch-0001/checkpoint"), mustRead(t, filepath.Join(old.dir, "epoch-0001/checkpoint")))
	if got := mixed.verify(t); !names(got, "epoch-0001/checkpoint") {
		t.Fatalf("reported %v", got.Damages)
	}
	mixed = fixture{dir: base, key: l.Key()}.copyTo(t)
	mustWrite(t, filepath.Join(mixed.dir, manifestFileName), mustRead(t, filepath.Join(old.dir, manifestFileName)))
	if got := mixed.verify(t); !names(got, manifestFileName) {
		t.Fatalf("reported %v", got.Damages)
	}
}

// Who holds the key can write another history that verifies in itself; it does
// not continue the checkpoint that an outsider kept.
func TestVerifySeesHistoryRewrittenWithTheKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	cfg := testConfig(t.TempDir())
	cfg.KeyFile = filepath.Join(f.dir, keyFileName)
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	entries := entryRange(1, 1, f.sizes[1])
	entries[122] = []byte("it was not me")
	if _, err := l.Append(t.Context(), 1, 1, entries); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, 2, 1, f.sizes[2])
	mustClose(t, l)
	checkSound(t, cfg.Dir, f.key)
	forged := fixture{dir: cfg.Dir, key: f.key}
	got := forged.verify(t, f.earlier).Damages
	rewritten := false
	for _, d := range got {
		rewritten = rewritten || d.Epoch == 1 && d.First == 1 && d.Last == 300 && strings.Contains(d.Reason, "rewritten")
	}
	if !rewritten {
		t.Fatalf("reported %v", got)
	}
}

// Without the key: an entry, its tiles, the state are all rewritten to fit.
func TestVerifySeesHistoryRewrittenWithoutTheKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t).copyTo(t)
	cfg := testConfig(t.TempDir())
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	entries := entryRange(1, 1, f.sizes[1])
	entries[122] = []byte("it was not me")
	if _, err := l.Append(t.Context(), 1, 1, entries); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	segment := filepath.Join(f.dir, segmentName(1))
	for _, part := range []string{"tile", stateDirName} {
		mustRemove(t, filepath.Join(segment, part))
		if err := os.CopyFS(filepath.Join(segment, part), os.DirFS(filepath.Join(cfg.Dir, segmentName(1), part))); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.verify(t); !names(got, "epoch-0001/checkpoint") {
		t.Fatalf("reported %v", got.Damages)
	}
	// And with the forger's own key over it.
	mustWrite(t, filepath.Join(segment, "checkpoint"), mustRead(t, filepath.Join(cfg.Dir, "epoch-0001/checkpoint")))
	if got := f.verify(t); !names(got, "epoch-0001/checkpoint") {
		t.Fatalf("reported %v", got.Damages)
	}
}

// A segment that the manifest does not list was put there.
func TestVerifySeesAForeignSegment(t *testing.T) {
	t.Parallel()
	f := newFixture(t).copyTo(t)
	if err := os.CopyFS(filepath.Join(f.dir, segmentName(3)), os.DirFS(filepath.Join(f.dir, segmentName(2)))); err != nil {
		t.Fatal(err)
	}
	got := f.verify(t)
	if !names(got, manifestFileName) || !names(got, "epoch-0003/checkpoint") {
		t.Fatalf("reported %v", got.Damages)
	}
}

// A segment that has just begun is listed a moment after it appears.
func TestVerifyKnowsABeginningSegment(t *testing.T) {
	t.Parallel()
	f := newFixture(t).copyTo(t)
	if err := os.MkdirAll(filepath.Join(f.dir, segmentName(9), stateDirName), 0o750); err != nil {
		t.Fatal(err)
	}
	checkSound(t, f.dir, f.key)
}

// Entries after the checkpoint are verified against the log's own state.
func TestVerifyUnsignedTail(t *testing.T) {
	t.Parallel()
	f := newFixture(t).copyTo(t)
	cfg := testConfig(f.dir)
	cfg.CheckpointInterval = never // signs nothing until it is closed
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, 1, 712, 1100)
	segment := filepath.Join(f.dir, segmentName(1))
	sound := checkSound(t, f.dir, f.key, f.earlier)
	if got := sound.Segments[0]; got.Size != 711 || got.Unsigned != 389 {
		t.Fatalf("%d signed and %d unsigned entries", got.Size, got.Unsigned)
	}
	for file, wantFirst := range map[string]int64{
		"tile/entries/003":      769, // in the tail
		"tile/entries/004.p/76": 1025,
		"tile/0/003":            769,
		"tile/0/004.p/76":       1025,
		"tile/1/000.p/4":        1, // in the signed part
		"tile/entries/000":      1,
	} {
		path := filepath.Join(segment, file)
		raw := mustRead(t, path)
		flip(t, path, 10) // in the first hash, or the first entry
		report := f.verify(t)
		if !names(report, filepath.Join(segmentName(1), file)) || len(report.Damages) != 1 || report.Damages[0].First != wantFirst {
			t.Errorf("%s: reported %v, want entry %d", file, report.Damages, wantFirst)
		}
		mustWrite(t, path, raw)
	}
	state := mustRead(t, statePath(segment))
	flip(t, statePath(segment), 30)
	if report := f.verify(t); !names(report, "epoch-0001/.state/treeState") {
		t.Errorf("state: reported %v", report.Damages)
	}
	mustWrite(t, statePath(segment), state)
	// It cannot be closed in order: the checkpoint would never come.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("close: %v", err)
	}
	// The next one signs the tail.
	l = mustOpen(t, f.dir)
	if next, err := l.Next(t.Context(), 1); err != nil || next != 1101 {
		t.Fatalf("next is %d, %v", next, err)
	}
	mustClose(t, l)
	if got := checkSound(t, f.dir, f.key).Segments[0]; got.Size != 1100 || got.Unsigned != 0 {
		t.Fatalf("%d signed and %d unsigned entries", got.Size, got.Unsigned)
	}
}

// The error is for what keeps it from verifying, not for what it finds.
func TestVerifyErrors(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if _, err := Verify(t.Context(), filepath.Join(f.dir, "nowhere"), f.key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := Verify(t.Context(), f.dir, PublicKey{}); err == nil {
		t.Error("the zero key verified something")
	}
	if _, err := Verify(t.Context(), f.dir, f.key, []byte("not a checkpoint")); err == nil {
		t.Error("an earlier checkpoint that is none was taken")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ctx, f.dir, f.key); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	if report, err := Verify(t.Context(), t.TempDir(), f.key); err != nil || report.Err() == nil {
		t.Errorf("an empty directory is a sound ledger: %v, %v", report, err)
	}
	other, err := createKey(filepath.Join(t.TempDir(), "key"), "test")
	if err != nil {
		t.Fatal(err)
	}
	report, err := Verify(t.Context(), f.dir, other.public)
	if err != nil || !names(report, manifestFileName) || !names(report, "epoch-0001/checkpoint") || !names(report, publicFileName) {
		t.Errorf("another key: %v, %v", report.Damages, err)
	}
}
