package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
