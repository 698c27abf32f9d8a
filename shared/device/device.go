package device

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/store"
)

// TypeFile is the only type there is.
const TypeFile = "file"

// Most bounds the devices of an installation: each reads the ledger by itself.
const Most = 16

// EnableWithin is how long an auditor has to open the file of a new device.
const EnableWithin = 10 * time.Second

// State is where a device is on its way.
type State string

// The states; see the package comment.
const (
	Enabling State = "enabling"
	Active   State = "active"
	Refused  State = "refused"
)

// Device is the value of an entry of [store.KindAudit], whose key is the path with
// a trailing slash.
type Device struct {
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Local       bool              `json:"local"`
	Options     map[string]string `json:"options"`
	// Key is that of its [Hasher], sealed for [Sealing] of the entry's ID.
	Key []byte `json:"key"`

	State State `json:"state"`
	// Until is when nobody waits for an answer any more, by the store's clock.
	Until time.Time `json:"until"`
	// Reason says why it was refused.
	Reason string `json:"reason,omitempty"`
	// After is the last event that is not in it: what the ledger had when its
	// file was opened.
	After event.Position `json:"after"`

	// Trouble says why it does not write; empty while it does.
	Trouble string    `json:"trouble,omitempty"`
	Since   time.Time `json:"since,omitzero"` // of the trouble, by the store's clock
}

// Decode reads an entry.
func Decode(e store.Entry) (d Device, err error) {
	if err := json.Unmarshal(e.Value, &d); err != nil {
		return d, fmt.Errorf("decode audit device %s: %w", e.Key, err)
	}
	return d, nil
}

// Put is e with d as its value.
func Put(e store.Entry, d Device) (store.Entry, error) {
	value, err := json.Marshal(d)
	if err != nil {
		return e, fmt.Errorf("encode audit device %s: %w", e.Key, err)
	}
	e.Kind, e.Value = store.KindAudit, value
	return e, nil
}

// Key is the key of the entry of a path.
func Key(path string) string { return strings.Trim(path, "/") + "/" }

// Subject is what the events about a device are about.
func Subject(key string) string { return "sys/audit/" + key }

// Consumer is the name under which the store keeps how far the device of an
// incarnation has come; see [store.Outbox].
func Consumer(id string) string { return "audit-device/" + id }

// Sealing is the context that the key of an incarnation is sealed for.
func Sealing(id string) string { return "audit device/" + id + "/key" }
