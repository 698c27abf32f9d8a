package seal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxFile bounds a key file in bytes: a few keys of 44 characters.
const maxFile = 4096

// Load reads a key file: one base64 key a line, the first one seals; empty
// lines and lines that begin with # are passed over. It refuses a file that
// others than its owner may read.
func Load(path string) (*Keyring, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("load key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("load key file: %s has mode %#o; make it 0600", path, info.Mode().Perm())
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("load key file: %s has %d bytes, at most %d are read", path, info.Size(), maxFile)
	}
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, fmt.Errorf("load key file: %w", err)
	}
	var masters [][]byte
	for i, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		k, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(k) != KeySize { // the cause could quote the key
			return nil, fmt.Errorf("load key file: line %d of %s is not a base64 key of %d bytes", i+1, path, KeySize)
		}
		masters = append(masters, k)
	}
	if len(masters) == 0 {
		return nil, fmt.Errorf("load key file: %s holds no key", path)
	}
	return New(masters...)
}

// LoadOrCreate loads the key file and makes it, with a new random key, if there
// is none. The file is durable before its key is used.
func LoadOrCreate(path string) (*Keyring, error) {
	r, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return r, err
	}
	master := make([]byte, KeySize)
	if _, err := rand.Read(master); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	if err := create(path, base64.StdEncoding.EncodeToString(master)+"\n"); err != nil {
		return nil, fmt.Errorf("make key file: %w", err)
	}
	return Load(path)
}

// create writes the file under another name first, so that a crash leaves
// either no key file or a whole one, and links it, so that none is replaced.
func create(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".seal-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // the link below is what counts
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
