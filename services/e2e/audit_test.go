//go:build e2e

package e2e

import (
	"fmt"
	"net/url"
	"testing"
	"time"
)

// entry is one line of the record, as the API shows it.
type entry struct {
	Epoch, Number int64
	Type          string
	Time          time.Time
	Subject       string
	Version       int64
	Actor, Reason string
	Data          struct {
		State, Account, Path string
		Status               int
		ExpiresAt            *time.Time `json:"expires_at"`
		DueAt                *time.Time `json:"due_at"`
		DisabledAt           *time.Time `json:"disabled_at"`
		SessionsEndedAt      *time.Time `json:"sessions_ended_at"`
		EndedAt              *time.Time `json:"ended_at"`
		Actor                struct {
			RequestID string `json:"request_id"`
		}
	}
}

// entries are those that match a query, all pages of them.
func (c *curfew) entries(tb testing.TB, query url.Values) []entry {
	tb.Helper()
	var all []entry
	for {
		var page struct{ Entries []entry }
		c.data(tb, "/v1/audit/entries?"+query.Encode(), &page)
		if len(page.Entries) == 0 {
			return all
		}
		all = append(all, page.Entries...)
		last := page.Entries[len(page.Entries)-1]
		query.Set("after", fmt.Sprintf("%d-%d", last.Epoch, last.Number))
	}
}

// history is what the record says of a lease, once it says that it has ended.
func (c *curfew) history(tb testing.TB, lease string) []entry {
	tb.Helper()
	var all []entry
	eventually(tb, hang, func() error {
		all = c.entries(tb, url.Values{"lease": {lease}})
		if len(all) == 0 {
			return fmt.Errorf("no entry about %s", lease)
		}
		switch state := all[len(all)-1].Data.State; state {
		case "revoked", "expired", "abandoned":
			return nil
		default:
			return fmt.Errorf("%s is %s", lease, state)
		}
	})
	return all
}

// gapless fails unless the versions of a lease run from 1 without a gap.
func gapless(tb testing.TB, lease string, all []entry) {
	tb.Helper()
	for i, e := range all {
		if e.Version != int64(i+1) {
			tb.Errorf("entry %d about %s has version %d (%s)", i+1, lease, e.Version, e.Type)
		}
	}
}

// types lists the types of entries, in order.
func types(all []entry) []string {
	var out []string
	for _, e := range all {
		out = append(out, e.Type)
	}
	return out
}
