package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/spf13/cobra"

	"github.com/curfew-project/curfew/services/curfew/internal/cli/internal/sse"
)

func (s *session) auditTailCommand() *cobra.Command {
	var after, kind string
	cmd := s.clientFlags(&cobra.Command{
		Use:   "tail",
		Short: "Print audit entries as they are made",
		Long: `Print audit entries as they are made, one a line, until interrupted.

When the stream breaks it is resumed after the last entry that was printed.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := s.client()
			if err != nil {
				return err
			}
			// A stream has no end to wait for.
			client.SetClientTimeout(0)
			t := &tail{session: s, client: client, lastID: after}
			if kind != "" {
				t.query = url.Values{"type": {kind}}
			}
			return t.run(cmd.Context())
		},
	})
	cmd.Flags().StringVar(&after, "after", "", "begin after this entry, such as 1-42 (default: with the next one made)")
	cmd.Flags().StringVar(&kind, "type", "", `only this type, such as "lease.revoked"`)
	return cmd
}

// tail follows the audit stream. Its position is the id of the last event that
// was printed in full, or the later one that the server marked; nothing is
// printed twice and nothing skipped, as far as the server honours
// Last-Event-ID. A stream that breaks before it gave any id resumes with the
// next entry made.
type tail struct {
	session   *session
	client    *api.Client
	query     url.Values
	lastID    string
	connected bool // once
	attempts  int  // to reconnect, since the last event
	wish      time.Duration
}

func (t *tail) run(ctx context.Context) error {
	for {
		err := t.follow(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // interrupted, whatever the stream came to: the orderly end
		}
		switch {
		case err == nil:
			return nil
		case t.session.out.err != nil:
			return local(t.session.out.err, "Error writing output")
		case !t.connected || final(err):
			return refused(err, "Error following the audit stream")
		}
		pause := reconnectPause(t.wish, t.attempts)
		t.attempts++
		fmt.Fprintf(t.session.io.Stderr, "Audit stream broken (%s); resuming in %s\n", breakage(err), pause)
		if t.session.io.Wait(ctx, pause) != nil {
			return nil //nolint:nilerr // interrupted while it paused: the orderly end
		}
	}
}

// follow connects once and prints events until the stream breaks. It returns nil
// where the server wants no reconnection (204).
func (t *tail) follow(ctx context.Context) error {
	headers := t.client.Headers()
	headers.Set("Accept", "text/event-stream")
	if t.lastID != "" {
		headers.Set("Last-Event-ID", t.lastID)
	}
	t.client.SetHeaders(headers)
	response, err := t.client.Logical().ReadRawWithDataWithContext(ctx, "audit/stream", t.query)
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return err
	}
	if response.StatusCode == http.StatusNoContent {
		return nil
	}
	t.connected = true
	events := sse.NewReader(response.Body, t.lastID)
	for {
		event, err := events.Next()
		t.wish = events.Retry()
		if err != nil {
			// The server may have marked a position without an entry: nothing
			// before it is missing.
			t.lastID = events.LastID()
			return err
		}
		if t.session.printEvent(event); t.session.out.err != nil {
			return t.session.out.err
		}
		t.lastID, t.attempts = event.ID, 0
	}
}

// final reports whether trying again cannot help: the server has understood and
// says no.
func final(err error) bool {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return errors.Is(err, sse.ErrTooLarge)
	}
	return answer.StatusCode < http.StatusInternalServerError && answer.StatusCode != http.StatusTooManyRequests
}

// printEvent prints one line: the event's JSON, which as YAML is a document of
// its own, or its cells.
func (s *session) printEvent(event sse.Event) {
	line := event.Data
	if s.structured() {
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(event.Data)); err == nil {
			line = compact.String()
		}
		if s.flags.format == formatYAML {
			line = "--- " + line
		}
	} else if entry, ok := parseEntry([]byte(event.Data)); ok {
		cells := entry.cells()
		for i, cell := range cells {
			if cell == "" {
				cells[i] = "n/a"
			}
		}
		line = strings.Join(cells, "  ")
	}
	fmt.Fprintln(s.out, strings.ReplaceAll(line, "\n", " "))
}

// breakage says in a few words why a stream broke.
func breakage(err error) string {
	if errors.Is(err, io.EOF) {
		return "closed by the server"
	}
	var answer *api.ResponseError
	if errors.As(err, &answer) {
		return fmt.Sprintf("code %d", answer.StatusCode)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// decodeJSON decodes one value; numbers keep their digits.
func decodeJSON(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}
