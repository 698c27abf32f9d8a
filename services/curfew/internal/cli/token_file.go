package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const tokenFile = ".curfew-token"

// token is the client token: CURFEW_TOKEN, VAULT_TOKEN, ~/.curfew-token,
// ~/.vault-token; empty where none is set.
func (s *session) token() (string, error) {
	if token := s.env("TOKEN"); token != "" {
		return token, nil
	}
	home := s.io.Getenv("HOME")
	if home == "" {
		return "", nil
	}
	for _, name := range []string{tokenFile, ".vault-token"} {
		content, err := os.ReadFile(filepath.Join(home, name)) //nolint:gosec // the user's own home
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil {
			return "", err
		}
		if token := strings.TrimSpace(string(content)); token != "" {
			return token, nil
		}
	}
	return "", nil
}

// storeToken writes ~/.curfew-token, readable by the user alone. It replaces
// the file as a whole: a reader sees the old token or the new one, and the mode
// of a file that was there before does not count.
func (s *session) storeToken(token string) error {
	home := s.io.Getenv("HOME")
	if home == "" {
		return errors.New("HOME is not set")
	}
	return replaceFile(filepath.Join(home, tokenFile), []byte(token), 0o600)
}
