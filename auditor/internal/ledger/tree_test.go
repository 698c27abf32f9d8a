package ledger

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
)

// A tree of three levels of tiles: first exactly full at level 1 (its right edge
// is one node of level 2), then a little more.
func TestTreeOfThreeLevels(t *testing.T) {
	t.Parallel()
	const full = batchSize * batchSize
	const last = full + 2*batchSize + 44
	dir := t.TempDir()
	l := mustOpen(t, dir)
	mustAppend(t, l, 1, 1, full)
	mustClose(t, l)
	earlier := mustRead(t, filepath.Join(dir, "epoch-0001/checkpoint"))
	checkSound(t, dir, l.Key(), earlier)
	l = mustOpen(t, dir)
	if next, err := l.Next(t.Context(), 1); err != nil || next != full+1 {
		t.Fatalf("next is %d, %v", next, err)
	}
	mustAppend(t, l, 1, full+1, last)
	mustClose(t, l)
	checkEntries(t, l.Reader, 1, last)
	f := fixture{dir: dir, key: l.Key()}
	report := checkSound(t, dir, f.key, earlier)

	path, err := l.InclusionProof(t.Context(), 1, 4711, last)
	if err != nil {
		t.Fatal(err)
	}
	leaf := rfc6962.DefaultHasher.HashLeaf(entryData(1, 4711))
	if err := proof.VerifyInclusion(rfc6962.DefaultHasher, 4710, last, leaf, path, report.Segments[0].Root); err != nil {
		t.Fatal(err)
	}

	const e, t0, t1, t2 = "epoch-0001/tile/entries/", "epoch-0001/tile/0/", "epoch-0001/tile/1/", "epoch-0001/tile/2/"
	for _, c := range []struct {
		what  string
		files []string
		want  []Damage
	}{
		{"an entry", []string{e + "100"}, []Damage{{First: 25601, Last: 25601, Path: e + "100"}}},
		{"a leaf hash", []string{t0 + "100"}, []Damage{{First: 25601, Last: 25601, Path: t0 + "100"}}},
		{"a node of a full tile", []string{t1 + "000"}, []Damage{{First: 1, Last: 256, Path: t1 + "000"}}},
		{"the top", []string{t2 + "000.p/1"}, []Damage{{First: 1, Last: full, Path: t2 + "000.p/1"}}},
		{"tile and top", []string{t1 + "000", t2 + "000.p/1"}, []Damage{
			{First: 1, Last: full, Path: t2 + "000.p/1"},
			{First: 1, Last: 256, Path: t1 + "000"},
		}},
		{"entry and node of another bundle", []string{e + "100", t1 + "000"}, []Damage{
			{First: 1, Last: 256, Path: t1 + "000"},
			{First: 25601, Last: 25601, Path: e + "100"},
		}},
	} {
		var sound [][]byte
		for _, file := range c.files {
			raw := mustRead(t, filepath.Join(dir, file))
			sound = append(sound, raw)
			flip(t, filepath.Join(dir, file), 7)
		}
		got := f.verify(t).Damages
		for _, want := range c.want {
			found := false
			for _, d := range got {
				found = found || d.Path == want.Path && d.First == want.First && d.Last == want.Last
			}
			if !found {
				t.Errorf("%s: want %v, reported %v", c.what, want, got)
			}
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: reported %v", c.what, got)
		}
		for i, file := range c.files {
			mustWrite(t, filepath.Join(dir, file), sound[i])
		}
	}
	checkSound(t, dir, f.key)
}

// An entry and the leaf hash over it are changed to fit one another: the node
// above proves neither, and the range that it covers is named.
func TestVerifyNamesTheRangeWhereNothingIsProved(t *testing.T) {
	t.Parallel()
	f := newFixture(t).copyTo(t)
	bundle := filepath.Join(f.dir, "epoch-0001/tile/entries/001")
	raw := mustRead(t, bundle)
	raw[10] ^= 1
	mustWrite(t, bundle, raw)
	hashes, err := parseBundle(raw, batchSize)
	if err != nil {
		t.Fatal(err)
	}
	tile := filepath.Join(f.dir, "epoch-0001/tile/0/001")
	nodes := mustRead(t, tile)
	copy(nodes, hashes[0])
	mustWrite(t, tile, nodes)
	for _, d := range f.verify(t).Damages {
		if d.Epoch == 1 && d.First <= 257 && d.Last >= 257 && d.First >= 257 && d.Last <= 512 {
			return
		}
	}
	t.Fatalf("reported %v", f.verify(t).Damages)
}

// Superseded partial files are collected in the background; what is left is
// complete.
// Not parallel: awaitCollectors looks at the whole process.
func TestCollectedLedgerIsSound(t *testing.T) { //nolint:paralleltest // see above
	cfg := testConfig(t.TempDir())
	cfg.CollectInterval = 1 // as often as it can
	l, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n <= 300; n += 10 {
		mustAppend(t, l, 1, n, n+9)
	}
	partials := filepath.Join(cfg.Dir, "epoch-0001/tile/entries/000.p")
	for { // until the test's deadline
		there, err := exists(partials)
		if err != nil {
			t.Fatal(err)
		}
		if !there {
			break
		}
		checkSound(t, cfg.Dir, l.Key())
		checkEntries(t, l.Reader, 1, 300)
	}
	mustClose(t, l)
	awaitCollectors()
	checkEntries(t, l.Reader, 1, 300)
	checkSound(t, cfg.Dir, l.Key())
	if entries, err := os.ReadDir(filepath.Join(cfg.Dir, "epoch-0001/tile/entries/001.p")); err != nil || len(entries) == 0 {
		t.Fatalf("the partial files that are still needed: %v, %v", entries, err)
	}
}

// awaitCollectors waits until no collector of the library runs in this process.
// Close does not (segment.close), and what a collector still notes would stand
// in the way of removing the test's directory.
func awaitCollectors() {
	stacks := make([]byte, 1<<20)
	for strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), ".garbageCollectorJob(") { // until the test's deadline
		time.Sleep(time.Millisecond)
	}
}
