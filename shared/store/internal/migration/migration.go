// Package migration reads the numbered, forward-only steps of a store's schema.
// How they are applied is the store's own.
package migration

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Migration is one step forward; there are none back.
type Migration struct {
	Version int
	Name    string
	Text    string
}

// Read reads the files of a folder named "migrations". Their names begin with
// their number, dense from 1.
func Read(folder fs.FS) ([]Migration, error) {
	files, err := fs.ReadDir(folder, "migrations")
	if err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var all []Migration
	for i, f := range files { // ReadDir sorts by name
		number, _, _ := strings.Cut(f.Name(), "_")
		v, err := strconv.Atoi(number)
		if err != nil || v != i+1 {
			return nil, fmt.Errorf("list migrations: %s is not number %d", f.Name(), i+1)
		}
		text, err := fs.ReadFile(folder, "migrations/"+f.Name())
		if err != nil {
			return nil, fmt.Errorf("read migration: %w", err)
		}
		all = append(all, Migration{Version: v, Name: f.Name(), Text: string(text)})
	}
	return all, nil
}
