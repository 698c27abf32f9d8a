package work

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/curfew-project/curfew/services/bench/internal/report"
)

// recorded is how many events the server's ledger holds; 0 where it has none that
// can be read, as servers of other makers.
func (b *Bench) recorded(ctx context.Context) int {
	text, err := b.api.Raw(ctx, http.MethodGet, "audit/checkpoint", nil)
	if err != nil {
		return 0
	}
	lines := strings.Split(string(text), "\n") // of a signed note: origin, size, …
	if len(lines) < 2 {
		return 0
	}
	n, err := strconv.Atoi(lines[1])
	if err != nil {
		return 0
	}
	return n
}

// record tells how far the ledger was behind when the last account had gone: until
// the end of its lease can be read there.
func (b *Bench) record(ctx context.Context, more map[string]float64, before int, l lags, start time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		ended, err := b.readsEnd(ctx, l.last.id)
		if err != nil {
			return fmt.Errorf("wait for the ledger: %w", err)
		}
		if ended {
			break
		}
		b.pause(ctx, 20*time.Millisecond)
	}
	now := b.clock.Now()
	more["ledger_behind_ms"] = report.Milliseconds(now.Sub(l.end))
	more["ledger_events/s"] = float64(b.recorded(ctx)-before) / now.Sub(start).Seconds()
	return nil
}

// readsEnd reports whether the ledger has the end of a lease.
func (b *Bench) readsEnd(ctx context.Context, id string) (bool, error) {
	text, err := b.api.Raw(ctx, http.MethodGet, "audit/entries?type=lease.revoked&limit=1&lease="+url.QueryEscape(id), nil)
	if err != nil {
		return false, err
	}
	var a struct {
		Data struct {
			Entries []json.RawMessage `json:"entries"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return false, fmt.Errorf("read entries: %w", err)
	}
	return len(a.Data.Entries) > 0, nil
}
