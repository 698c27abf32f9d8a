package jetstream

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"github.com/curfew-project/curfew/shared/event"
)

// markFile is beside what the server keeps, and goes where that goes.
const markFile = "published.json"

// mark is the last event that was acknowledged, or one a little before it.
type mark struct {
	Source   string         `json:"source"`
	Position event.Position `json:"position"`
}

// Published reads how far the stream in a directory of [EmbedConfig] has come at
// least, without starting a server, which takes longer the more the stream holds.
// Not ok: that is not known, as the directory is new, or its mark is damaged or
// another installation's.
func Published(dir, source string) (at event.Position, ok bool) {
	text, err := os.ReadFile(filepath.Join(dir, markFile)) //nolint:gosec // the operator names the directory
	if err != nil {
		return at, false
	}
	var m mark
	if err := json.Unmarshal(text, &m); err != nil || m.Source != source {
		return at, false
	}
	return m.Position, m.Position.Number > 0
}

// marker writes the mark of a server inside the process. What it says is never
// ahead of the stream as it was; that it is behind, or lost, costs a start the wait
// for the server. So its failures are not told.
type marker struct {
	file   string
	source string

	mu     sync.Mutex
	latest event.Position // acknowledged
	marked event.Position // as the file has it
}

// note is told what was acknowledged.
func (m *marker) note(at event.Position) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.latest.Before(at) {
		m.latest = at
	}
}

// flush writes what is new.
func (m *marker) flush() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.marked.Before(m.latest) && m.write(m.latest) == nil {
		m.marked = m.latest
	}
}

func (m *marker) write(at event.Position) error {
	text, err := json.Marshal(mark{m.source, at})
	if err != nil {
		return err //nolint:wrapcheck // it is not told
	}
	next := m.file + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err //nolint:wrapcheck // it is not told
	}
	return os.Rename(next, m.file) //nolint:wrapcheck // it is not told
}
