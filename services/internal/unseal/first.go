package unseal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/secret"
)

// AutoInit is the first start: the root token goes to a file of the owner's. It
// waits for who is at it; one that was killed meanwhile keeps the others waiting
// for a minute at most.
func (i *Installation) AutoInit(ctx context.Context, c clock.Clock, tokenFile string) error {
	for {
		err := i.autoInit(ctx, tokenFile)
		if !errors.Is(err, errBusy) {
			return err
		}
		if clock.Sleep(ctx, c, askEvery) != nil {
			return err
		}
	}
}

func (i *Installation) autoInit(ctx context.Context, tokenFile string) error {
	text, err := os.ReadFile(tokenFile) //nolint:gosec // below the operator's data directory
	switch {
	case errors.Is(err, fs.ErrNotExist):
		text = []byte(NewToken().Reveal())
		if err := WritePrivate(tokenFile, append(text, '\n')); err != nil {
			return fmt.Errorf("write the root token: %w", err)
		}
	case err != nil:
		return fmt.Errorf("read the root token: %w", err)
	}
	root := secret.New(strings.TrimSpace(string(text)))
	if !strings.HasPrefix(root.Reveal(), tokenPrefix) || len(root.Reveal()) < len(tokenPrefix)+tokenLen {
		return fmt.Errorf("read the root token: %s holds none; remove the file, and the next start makes another", tokenFile)
	}
	return i.Initialise(ctx, root)
}

// NewToken makes the text of a root token.
func NewToken() secret.Value { return secret.New(tokenPrefix + lease.RandomBase62(tokenLen)) }

// WritePrivate writes a file for the owner only, durably, and never over one
// that exists. It is made under another name: a crash leaves no half of it.
func WritePrivate(path string, content []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(content)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir) //nolint:gosec // see above
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
