package ledger

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Opening for append looks before it signs: it never signs a shorter or other
// log over the one that was signed.
func TestAppendRefusesADamagedSegment(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, dir string){
		"state removed":   func(t *testing.T, dir string) { t.Helper(); mustRemove(t, statePath(dir)) },
		"state truncated": func(t *testing.T, dir string) { t.Helper(); mustWrite(t, statePath(dir), nil) },
		"state of another": func(t *testing.T, dir string) {
			t.Helper()
			mustWrite(t, statePath(dir), []byte(`{"size":300,"root":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`))
		},
		"state put back": func(t *testing.T, dir string) {
			t.Helper()
			mustWrite(t, statePath(dir), []byte(`{"size":0,"root":"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}`))
		},
		"state hidden":     func(t *testing.T, dir string) { t.Helper(); mustRemove(t, filepath.Join(dir, stateDirName)) },
		"checkpoint gone":  func(t *testing.T, dir string) { t.Helper(); mustRemove(t, filepath.Join(dir, "checkpoint")) },
		"checkpoint bad":   func(t *testing.T, dir string) { t.Helper(); flip(t, filepath.Join(dir, "checkpoint"), 40) },
		"last bundle bad":  func(t *testing.T, dir string) { t.Helper(); flip(t, filepath.Join(dir, "tile/entries/001.p/44"), 10) },
		"last bundle gone": func(t *testing.T, dir string) { t.Helper(); mustRemove(t, filepath.Join(dir, "tile/entries/001.p")) },
		"tile bad":         func(t *testing.T, dir string) { t.Helper(); flip(t, filepath.Join(dir, "tile/1/000.p/1"), 3) },
		"segment removed":  func(t *testing.T, dir string) { t.Helper(); mustRemove(t, dir) },
		"state and checkpoint removed": func(t *testing.T, dir string) {
			t.Helper()
			mustRemove(t, filepath.Join(dir, stateDirName))
			mustRemove(t, filepath.Join(dir, "checkpoint"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := mustOpen(t, dir)
			mustAppend(t, l, 1, 1, 300)
			mustClose(t, l)
			harm(t, filepath.Join(dir, segmentName(1)))
			l = mustOpen(t, dir)
			if next, err := l.Next(t.Context(), 1); !errors.Is(err, ErrDamaged) {
				t.Fatalf("next is %d, %v; want damage", next, err)
			}
			if _, err := l.Append(t.Context(), 1, 301, entryRange(1, 301, 302)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("append: %v; want damage", err)
			}
			if _, err := l.Append(t.Context(), 1, 1, entryRange(1, 1, 302)); !errors.Is(err, ErrDamaged) {
				t.Fatalf("append from 1: %v; want damage", err)
			}
			mustAppend(t, l, 2, 1, 3) // the record of another epoch goes on
		})
	}
}

func TestOpenRefusesAForeignLedger(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, cfg *Config){
		"manifest removed": func(t *testing.T, cfg *Config) { t.Helper(); mustRemove(t, filepath.Join(cfg.Dir, manifestFileName)) },
		"manifest changed": func(t *testing.T, cfg *Config) { t.Helper(); flip(t, filepath.Join(cfg.Dir, manifestFileName), 30) },
		"key removed":      func(t *testing.T, cfg *Config) { t.Helper(); mustRemove(t, filepath.Join(cfg.Dir, keyFileName)) },
		"key changed":      func(t *testing.T, cfg *Config) { t.Helper(); flip(t, filepath.Join(cfg.Dir, keyFileName), 50) },
		"public changed":   func(t *testing.T, cfg *Config) { t.Helper(); flip(t, filepath.Join(cfg.Dir, publicFileName), 40) },
		"other name":       func(_ *testing.T, cfg *Config) { cfg.Installation = "other" },
		"other key": func(t *testing.T, cfg *Config) {
			t.Helper()
			cfg.KeyFile = filepath.Join(t.TempDir(), "key")
			if _, err := createKey(cfg.KeyFile, cfg.Installation); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			l := mustOpen(t, dir)
			mustAppend(t, l, 1, 1, 3)
			mustClose(t, l)
			cfg := testConfig(dir)
			harm(t, &cfg)
			if l, err := Open(t.Context(), cfg); err == nil {
				mustClose(t, l)
				t.Fatal("it was opened")
			}
		})
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := testConfig(filepath.Join(dir, "deep", "ledger"))
	cfg.KeyFile = filepath.Join(dir, "key")
	for range 2 { // generated, then loaded
		l, err := Open(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		next, err := l.Next(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, 1, next, next)
		mustClose(t, l)
	}
	info, err := os.Stat(cfg.KeyFile)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(filepath.Join(cfg.Dir, keyFileName)); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a key lies in the ledger too: %v", err)
	}
	key, err := NewReader(cfg.Dir).PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	checkSound(t, cfg.Dir, key)
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]Config{
		"no dir":          {Installation: "a"},
		"no installation": {Dir: "x"},
		"bad name":        {Dir: "x", Installation: "a b"},
		"slash":           {Dir: "x", Installation: "a/b"},
		"too fast":        {Dir: "x", Installation: "a", CheckpointInterval: time.Millisecond},
		"negative":        {Dir: "x", Installation: "a", CollectInterval: -1},
	} {
		if _, err := Open(t.Context(), cfg); !errors.Is(err, errConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
