package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/curfew-project/curfew/shared/device"
)

// Places say where files of devices may be.
type Places struct {
	// Below are the directories below which they may be; a path that is not
	// absolute is below the first.
	Below []string
	// Except are what the program keeps below them for itself: files, and
	// directories with all that is in them.
	Except []string
}

// place is where one file is.
type place struct {
	dir  string // one of Below
	name string // below it
}

// find says where a path leads, without looking at the file system.
func (p Places) find(path string) (at place, err error) {
	if len(p.Below) == 0 {
		return at, errors.New("the configuration allows no directory for audit devices (audit device_dirs)")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(p.Below[0], path)
	}
	for _, dir := range p.Below {
		name, err := filepath.Rel(dir, path) // cleans both
		if err == nil && filepath.IsLocal(name) && name != "." && len(dir) > len(at.dir) {
			at = place{dir, name}
		}
	}
	if at.dir == "" {
		return at, fmt.Errorf("it is not below a directory that the configuration allows (audit device_dirs): %s", strings.Join(p.Below, ", "))
	}
	return at, nil
}

// open opens the file of a device, and makes it where it is not there. What it
// opens is a regular file with one name, not executable, below one of the
// directories also where links lead elsewhere, none of the program's own, not
// written by anybody else, and empty or an audit file.
func (p Places) open(o device.Options) (outlet, error) {
	f, err := p.opened(o)
	if err != nil {
		return nil, fmt.Errorf("unable to open %q for writing: %w", o.Path, err)
	}
	return f, nil
}

func (p Places) opened(o device.Options) (f *file, err error) {
	at, err := p.find(o.Path)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(at.dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Close())
		}
	}()
	if err := p.refuse(at); err != nil {
		return nil, err
	}
	if err := root.MkdirAll(filepath.Dir(at.name), 0o700); err != nil {
		return nil, err
	}
	if err := ordinary(root, at.name); err != nil {
		return nil, err
	}
	create := o.Mode
	if create == 0 {
		create = 0o600
	}
	opened, err := root.OpenFile(at.name, os.O_RDWR|os.O_APPEND|os.O_CREATE, create)
	if err != nil {
		return nil, err
	}
	f = &file{root: root, name: at.name, f: opened}
	if err := f.prepare(o.Mode); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return f, nil
}

// ordinary refuses what is there and is no file: opening it may do something.
func ordinary(root *os.Root, name string) error {
	info, err := root.Stat(name)
	if err == nil && !info.Mode().IsRegular() {
		return errors.New("it is not a regular file")
	}
	if _, there := root.Lstat(name); there == nil && errors.Is(err, fs.ErrNotExist) {
		return errors.New("it is a link that leads nowhere")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// refuse keeps devices out of what is the program's own, links included.
func (p Places) refuse(at place) error {
	path := resolved(filepath.Join(at.dir, at.name))
	for _, kept := range p.Except {
		if name, err := filepath.Rel(resolved(kept), path); err == nil && filepath.IsLocal(name) {
			return fmt.Errorf("%s is Curfew's own", kept)
		}
	}
	return nil
}

// resolved is where a path leads, of which the end may not be there.
func resolved(path string) string {
	path = filepath.Clean(path)
	for rest := ""; ; {
		if whole, err := filepath.EvalSymlinks(path); err == nil {
			return filepath.Join(whole, rest)
		}
		parent := filepath.Dir(path)
		if parent == path {
			return filepath.Join(path, rest)
		}
		path, rest = parent, filepath.Join(filepath.Base(path), rest)
	}
}
