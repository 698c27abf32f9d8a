package server

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// owner returns whom servers run as: nil, that is ourselves, unless we are
// root, as whom Postgres refuses to run.
func owner() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read the id of user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("read the group of user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("choose a user for Postgres: it refuses to run as root, and there is neither postgres nor nobody")
}

// folder makes a temporary folder that belongs to who, in parent or else in
// the system's folder for temporary files.
func folder(parent, pattern string, who *syscall.Credential) (string, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	// Another user must be able to walk to it.
	if who != nil {
		for dir := parent; ; dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			if err != nil {
				return "", fmt.Errorf("make a data folder: %w", err)
			}
			if info.Mode().Perm()&0o001 == 0 {
				return "", fmt.Errorf("make a data folder: %s is closed to the user that Postgres runs as; set TMPDIR to a folder such as /tmp", dir)
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	dir, err := os.MkdirTemp(parent, pattern)
	if err != nil {
		return "", fmt.Errorf("make a data folder: %w", err)
	}
	if err := give(dir, who); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// give makes a file belong to who.
func give(file string, who *syscall.Credential) error {
	if who == nil {
		return nil
	}
	if err := os.Chown(file, int(who.Uid), int(who.Gid)); err != nil {
		return fmt.Errorf("give a file to the server's user: %w", err)
	}
	return nil
}

// write makes a file that only who can read.
func write(file string, content []byte, who *syscall.Credential) error {
	if err := os.WriteFile(file, content, 0o600); err != nil {
		return err
	}
	return give(file, who)
}
