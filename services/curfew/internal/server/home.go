package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	doubt "github.com/curfew-project/curfew/shared/installation"
	"github.com/curfew-project/curfew/shared/store"
)

const (
	// homeKey is the entry that says where the store lived last.
	homeKey = "home"
	// databaseFile is the store's, below the data directory.
	databaseFile = "store/curfew.db"
	// machineFile names the machine on most systems; a container may have none.
	machineFile = "/etc/machine-id"
)

// home is where a store lives, in terms that a move or a copy changes and a
// restart does not: a copied file has another inode or another birth. Device
// numbers are none of them; they follow the order in which disks are found.
type home struct {
	Machine   string `json:"machine,omitempty"` // "" where it does not say
	Directory place  `json:"directory"`
	Database  place  `json:"database"`
}

// place is one file or directory.
type place struct {
	Inode uint64 `json:"inode"`
	Born  int64  `json:"born,omitempty"` // nanoseconds since 1970; 0: the file system does not say
}

func (p place) is(q place) bool {
	return p.Inode == q.Inode && (p.Born == q.Born || p.Born == 0 || q.Born == 0)
}

// homeOf looks where the data directory is now.
func homeOf(dataDir, machine string) (h home, err error) {
	if text, err := os.ReadFile(machine); err == nil { //nolint:gosec // a fixed path outside tests
		h.Machine = string(bytes.TrimSpace(text))
	}
	if h.Directory, err = placeOf(dataDir); err != nil {
		return h, fmt.Errorf("look at the data directory: %w", err)
	}
	if h.Database, err = placeOf(filepath.Join(dataDir, databaseFile)); err != nil {
		return h, fmt.Errorf("look at the store's file: %w", err)
	}
	return h, nil
}

// movedFrom says in which ways h is another home than before; "" in none.
func (h *home) movedFrom(before home) string {
	var ways []string
	if h.Machine != "" && before.Machine != "" && h.Machine != before.Machine {
		ways = append(ways, "on another machine")
	}
	if !h.Directory.is(before.Directory) {
		ways = append(ways, "in another directory")
	}
	if !h.Database.is(before.Database) {
		ways = append(ways, "in another file")
	}
	return strings.Join(ways, ", ")
}

// checkHome looks where the store of a server that keeps its data lives now.
func (s *Server) checkHome(ctx context.Context) error {
	if s.cfg.Dev {
		return nil
	}
	now, err := homeOf(s.cfg.DataDir, machineFile)
	if err != nil {
		return err
	}
	return checkHome(ctx, s.store, now)
}

// checkHome doubts the installation where its store has moved since it ran last:
// it may be a copy, and accounts that it does not know may be the original's
// (B3). The new home is kept in the commit of the doubt, so that one move raises
// one doubt. An installation that kept none before only remembers it.
func checkHome(ctx context.Context, s store.Entries, now home) error {
	const tries = 10 // others change the doubt as well
	var err error
	for range tries {
		var w store.Write
		if w, err = settling(ctx, s, now); err != nil || len(w.Puts) == 0 {
			break
		}
		if _, err = s.Write(ctx, w); !errors.Is(err, store.ErrRevision) && !errors.Is(err, store.ErrExists) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("remember where the store lives: %w", err)
	}
	return nil
}

// settling is the commit of checkHome; empty where nothing has changed.
func settling(ctx context.Context, s store.Entries, now home) (w store.Write, err error) {
	e, err := s.Entry(ctx, store.KindSystem, homeKey)
	known := err == nil
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return w, err
	}
	value, err := json.Marshal(now)
	if err != nil || known && bytes.Equal(value, e.Value) {
		return w, err
	}
	if known {
		var before home
		if err := json.Unmarshal(e.Value, &before); err != nil {
			return w, err
		}
		if ways := now.movedFrom(before); ways != "" {
			reason := "the store is " + ways + " than when it ran last: if it was copied, stop the other one; then confirm"
			if w, err = doubt.Raising(ctx, s, reason); err != nil {
				return w, err
			}
		}
	}
	e.Kind, e.Key, e.Value = store.KindSystem, homeKey, value
	w.Puts = append(w.Puts, e)
	return w, nil
}
