package monitor

import (
	"context"
	"strings"
	"sync"

	"github.com/curfew-project/curfew/shared/store"
)

// names knows connections by their incarnations, also those that were deleted
// and have leases yet. What it knows never changes, so it is asked once. There
// are as many as there are connections.
type names struct {
	store store.Entries

	mu    sync.Mutex
	known map[store.Ref]string
}

func newNames(s store.Entries) *names { return &names{store: s, known: map[store.Ref]string{}} }

// target is how a target is called in labels: the path of its mount and its
// name. One that is not known any more is called by its id.
func (n *names) target(ctx context.Context, mount, id string) string {
	if id == "" {
		return ""
	}
	key, ok := n.key(ctx, store.KindConnection, id)
	if !ok {
		return mount + id
	}
	_, name, _ := strings.Cut(key, "/") // behind the mount's id
	return mount + name
}

// mount is the path of a mount.
func (n *names) mount(ctx context.Context, id string) string {
	if key, ok := n.key(ctx, store.KindMount, id); ok || id == "" {
		return key
	}
	return id
}

func (n *names) key(ctx context.Context, kind store.Kind, id string) (string, bool) {
	ref := store.Ref{Kind: kind, ID: id}
	n.mu.Lock()
	key, ok := n.known[ref]
	n.mu.Unlock()
	if ok || id == "" {
		return key, ok
	}
	e, err := n.store.EntryByID(ctx, kind, id)
	if err != nil {
		return "", false
	}
	n.mu.Lock()
	n.known[ref] = e.Key
	n.mu.Unlock()
	return e.Key, true
}
