package seal

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Load reads a key file: one master key a line, 64 hex digits or base64 of 32
// bytes, the current one first; empty lines and lines that begin with # are
// passed over. The file must be for its owner only.
func Load(path string) (*Keyring, error) {
	k, err := load(path)
	if err != nil {
		return nil, fmt.Errorf("load key file %s: %w", path, err)
	}
	return k, nil
}

// LoadOrCreate is [Load]; where there is no file it makes one with a random
// key. Of several that race to make it one wins, and all load its key.
func LoadOrCreate(path string) (*Keyring, error) {
	k, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	if err := create(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create key file %s: %w", path, err)
	}
	return Load(path)
}

// Parse reads the text of a key file; keys may be parted by commas, too. For a
// key from an environment.
func Parse(text string) (*Keyring, error) { return parse([]byte(strings.ReplaceAll(text, ",", "\n"))) }

func load(path string) (*Keyring, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's key file
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const most = 64 << 10
	switch {
	case !info.Mode().IsRegular() || info.Size() > most:
		return nil, fmt.Errorf("%w: it is no regular file of at most %d bytes", ErrKeyFile, most)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%w: others may access it (mode %04o): run chmod 600 on it", ErrKeyFile, info.Mode().Perm())
	}
	text := make([]byte, info.Size())
	if _, err := f.ReadAt(text, 0); err != nil && len(text) > 0 {
		return nil, err
	}
	return parse(text)
}

// parse reads keys. Its errors name the line and never its content.
func parse(text []byte) (*Keyring, error) {
	var keys [][]byte
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		key, ok := decode(string(line))
		if !ok {
			return nil, fmt.Errorf("%w: line %d is neither 64 hex digits nor base64 of 32 bytes", ErrKeyFile, n)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: it holds no key", ErrKeyFile)
	}
	k, err := New(keys[0], keys[1:]...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyFile, err)
	}
	return k, nil
}

func decode(line string) ([]byte, bool) {
	if key, err := hex.DecodeString(line); err == nil && len(key) == KeySize {
		return key, true
	}
	key, err := base64.StdEncoding.Strict().DecodeString(line)
	return key, err == nil && len(key) == KeySize
}

// create makes the file under another name, and links it into place when it is
// durable: a crash leaves no half of a key, and no key is overwritten.
func create(path string) (err error) {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails: it ends the process
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // see load
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
