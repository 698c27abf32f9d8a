package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/format"
)

// auditEntry is the part of an audit entry that a table shows. Members are kept
// as they come: JSON output is the server's, not this type's.
type auditEntry struct {
	Epoch   any `json:"epoch"`
	Number  any `json:"number"`
	Time    any `json:"time"`
	Type    any `json:"type"`
	Subject any `json:"subject"`
	Version any `json:"version"`
	Actor   any `json:"actor"`
	Reason  any `json:"reason"`
}

func (s *session) auditEntriesCommand() *cobra.Command {
	var lease, kind, since, until, after string
	var limit uint
	cmd := s.clientFlags(&cobra.Command{
		Use:   "entries",
		Short: "Search the audit log",
		Example: `  curfew audit entries -lease=database/creds/readonly/abc
  curfew audit entries -type=lease.revocation_failed -since=24h`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			from, err := s.pointInTime(since)
			if err != nil {
				return usage(cmd, "Invalid -since: %s", err)
			}
			to, err := s.pointInTime(until)
			if err != nil {
				return usage(cmd, "Invalid -until: %s", err)
			}
			for name, value := range map[string]string{
				"lease": cleanPath(lease), "type": kind, "since": from, "until": to, "after": after,
			} {
				if value != "" {
					query.Set(name, value)
				}
			}
			if limit > 0 {
				query.Set("limit", strconv.FormatUint(uint64(limit), 10))
			}
			return s.auditEntries(cmd, query)
		},
	})
	flags := cmd.Flags()
	flags.StringVar(&lease, "lease", "", "only this lease")
	flags.StringVar(&kind, "type", "", `only this type, such as "lease.revoked"`)
	flags.StringVar(&since, "since", "", "not before this time, or this long ago")
	flags.StringVar(&until, "until", "", "before this time, or this long ago")
	flags.StringVar(&after, "after", "", "only entries after this one, such as 1-42")
	flags.UintVar(&limit, "limit", 0, "at most this many (default: the server's)")
	return cmd
}

func (s *session) auditEntries(cmd *cobra.Command, query url.Values) error {
	client, err := s.client()
	if err != nil {
		return err
	}
	secret, err := client.Logical().ReadWithDataWithContext(cmd.Context(), "audit/entries", query)
	if err != nil {
		return refused(err, "Error reading audit entries")
	}
	var entries []any
	if secret != nil {
		if s.flags.format == formatTable {
			s.printWarnings(secret.Warnings)
		}
		entries, _ = secret.Data["entries"].([]any)
	}
	if s.structured() {
		if entries == nil {
			entries = []any{} // "[]", not "null"
		}
		if err := s.printStructured(entries); err != nil {
			return err
		}
	}
	switch {
	case len(entries) == 0 && s.structured():
		return &ExitError{Code: codeServer}
	case len(entries) == 0:
		return absent("No audit entries found")
	case s.flags.format == formatTable:
		return s.printEntries(entries)
	}
	return nil
}

func (s *session) printEntries(entries []any) error {
	rows := make([][]string, 0, len(entries))
	for _, item := range entries {
		text, err := json.Marshal(item)
		if err != nil {
			return local(err, "Error reading an audit entry")
		}
		entry, ok := parseEntry(text)
		if !ok {
			return refused(nil, "The server answered an audit entry that is not an object")
		}
		rows = append(rows, entry.cells())
	}
	fmt.Fprint(s.out, format.Table(
		[]string{"Epoch", "Number", "Time", "Type", "Subject", "Version", "Actor", "Reason"}, rows))
	return nil
}

// parseEntry reads one entry; numbers keep their digits.
func parseEntry(text []byte) (auditEntry, bool) {
	var entry *auditEntry
	if err := decodeJSON(text, &entry); err != nil || entry == nil {
		return auditEntry{}, false
	}
	return *entry, true
}

func (e auditEntry) cells() []string {
	values := []any{e.Epoch, e.Number, e.Time, e.Type, e.Subject, e.Version, e.Actor, e.Reason}
	cells := make([]string, len(values))
	for i, value := range values {
		if value != nil {
			cells[i] = fmt.Sprint(value)
		}
	}
	return cells
}

// pointInTime accepts a time, which the server gets as it is, or a duration,
// which is that long before now.
func (s *session) pointInTime(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if d, err := parseDuration(text); err == nil {
		return s.io.Now().Add(-d).UTC().Format(time.RFC3339Nano), nil
	}
	if _, err := time.Parse(time.RFC3339, text); err != nil {
		return "", fmt.Errorf(`want a time such as "2026-01-02T15:04:05Z" or a duration such as "10m"`)
	}
	return text, nil
}

// reconnectPause is how long tail waits before attempt n (from 0) to reconnect:
// the server's wish or one second, doubled each time, at most half a minute.
func reconnectPause(wish time.Duration, n int) time.Duration {
	const longest = 30 * time.Second
	pause := cmp.Or(wish, time.Second)
	for range n {
		if pause >= longest {
			break
		}
		pause *= 2
	}
	return min(pause, longest)
}
