package jetstream

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/curfew-project/curfew/shared/event"
)

const (
	// markFile is beside what the server keeps, and goes where that goes.
	markFile = "published.json"
	// markSize is that of every mark, so that one takes the place of another in a
	// single write to one page: it needs no room on the disk, and no process that is
	// killed leaves half of it.
	markSize = 512
)

// mark is the last event that was about to be sent: the store had given its number.
type mark struct {
	Source   string         `json:"source"`
	Position event.Position `json:"position"`
}

// Published reads what the stream in a directory of [EmbedConfig] was last about to
// get, without starting a server, which takes longer the more the stream holds. The
// store that it was of has that event, or had it. Not ok: that is not known, as the
// directory is new, or its mark is damaged or another installation's. A host that
// loses its power may have an earlier one.
func Published(dir, source string) (at event.Position, ok bool) {
	file, err := os.Open(filepath.Join(dir, markFile)) //nolint:gosec // the operator names the directory
	if err != nil {
		return at, false
	}
	defer file.Close()
	var m mark
	if err := json.NewDecoder(io.LimitReader(file, markSize)).Decode(&m); err != nil || m.Source != source {
		return at, false
	}
	return m.Position, m.Position.Number > 0
}

// marker keeps the mark of a server inside the process. One that cannot be written
// is removed: that nothing is known costs a start the wait for the server, and
// nothing else.
type marker struct {
	name   string
	source string

	mu   sync.Mutex
	last event.Position // of the mark that there is
	file *os.File       // nil: not open
}

func newMarker(dir, source string) *marker {
	m := &marker{name: filepath.Join(dir, markFile), source: source}
	m.last, _ = Published(dir, source)
	return m
}

// set is called before events up to at are sent. A mark is never taken back: what
// was last sent before a kill may be sent again from before its end.
func (m *marker) set(at event.Position) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.last.Before(at) {
		return
	}
	m.last = at
	if m.write(at) != nil {
		m.last = event.Position{}
		m.close()
		_ = os.Remove(m.name)
	}
}

func (m *marker) write(at event.Position) error {
	text, err := json.Marshal(mark{m.source, at})
	if err != nil {
		return err //nolint:wrapcheck // it is not told
	}
	if m.file == nil {
		m.file, err = os.OpenFile(m.name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err //nolint:wrapcheck // it is not told
		}
	}
	_, err = m.file.WriteAt(fmt.Appendf(nil, "%-*s\n", markSize-1, text), 0)
	return err //nolint:wrapcheck // it is not told
}

func (m *marker) end() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.close()
}

func (m *marker) close() {
	if m.file != nil {
		_ = m.file.Close()
		m.file = nil
	}
}
