package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/curfew-project/curfew/shared/clock"
	"github.com/curfew-project/curfew/shared/fsck"
	"github.com/curfew-project/curfew/shared/lease"
)

// remote is a running server as fsck reads it.
type remote struct {
	client *api.Client
	// stream answers as long as it has something to say.
	stream *api.Client
}

// get reads data of sys/fsck.
func (r *remote) get(ctx context.Context, path string, query url.Values, into any) error {
	response, err := r.client.Logical().ReadRawWithDataWithContext(ctx, path, query)
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return plain(err)
	}
	answer := struct {
		Data any `json:"data"`
	}{into}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	return nil
}

// plain is err in one line.
func plain(err error) error {
	var answer *api.ResponseError
	if !errors.As(err, &answer) {
		return err
	}
	text := strings.Join(answer.Errors, "; ")
	if text == "" {
		text = http.StatusText(answer.StatusCode)
	}
	return fmt.Errorf("%s %s: %d: %s", answer.HTTPMethod, redactURL(answer.URL), answer.StatusCode, strings.TrimSpace(text))
}

// Standing implements [fsck.Store].
func (r *remote) Standing(ctx context.Context) (fsck.Standing, error) {
	var data struct {
		Standing fsck.Standing `json:"standing"`
	}
	err := r.get(ctx, "sys/fsck", nil, &data)
	return data.Standing, err
}

func (r *remote) leases(ctx context.Context, query url.Values) ([]fsck.Row, error) {
	var data struct {
		Leases []fsck.Row `json:"leases"`
	}
	err := r.get(ctx, "sys/fsck/leases", query, &data)
	return data.Leases, err
}

// Leases implements [fsck.Store].
func (r *remote) Leases(ctx context.Context, after lease.ID, limit int) ([]fsck.Row, error) {
	return r.leases(ctx, url.Values{"after": {string(after)}, "limit": {strconv.Itoa(limit)}})
}

// Named implements [fsck.Store].
func (r *remote) Named(ctx context.Context, account string) ([]fsck.Row, error) {
	return r.leases(ctx, url.Values{"account": {account}})
}

// Lease implements [fsck.Store].
func (r *remote) Lease(ctx context.Context, id lease.ID) (fsck.Row, bool, error) {
	rows, err := r.leases(ctx, url.Values{"id": {string(id)}})
	if err != nil || len(rows) == 0 {
		return fsck.Row{}, false, err
	}
	return rows[0], true, nil
}

// Overdue implements [fsck.Store].
func (r *remote) Overdue(ctx context.Context, since time.Duration, limit int) ([]fsck.Row, error) {
	return r.leases(ctx, url.Values{"overdue": {since.String()}, "limit": {strconv.Itoa(limit)}})
}

// Accounts implements [fsck.Targets].
func (r *remote) Accounts(ctx context.Context, target, after string, limit int) ([]string, error) {
	var data struct {
		Accounts []string `json:"accounts"`
	}
	err := r.get(ctx, "sys/fsck/accounts/"+target, url.Values{"after": {after}, "limit": {strconv.Itoa(limit)}}, &data)
	return data.Accounts, err
}

// Record implements [fsck.Ledger]. The answer lasts as long as reading the whole
// record does; between two signs of life it is bounded.
func (r *remote) Record(ctx context.Context, share fsck.Share, each func(fsck.Line) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	alive := watchdog(ctx, silence, cancel)
	query := url.Values{"part": {strconv.FormatUint(share.Part, 10)}, "of": {strconv.FormatUint(share.Of, 10)}}
	response, err := r.stream.Logical().ReadRawWithDataWithContext(ctx, "audit/fsck", query)
	if response != nil {
		defer response.Body.Close()
	}
	if err != nil {
		return plain(err)
	}
	lines := json.NewDecoder(bufio.NewReader(response.Body))
	for {
		var l fsck.Line
		if err := lines.Decode(&l); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the record: %w", err)
		}
		alive()
		if err := each(l); err != nil {
			return err
		}
	}
}

// silence is how long a server may say nothing while it reads the record: it
// compares all files with what was signed before it says what it reads.
const silence = 2 * time.Minute

// watchdog calls bark when alive was not called for a while, until ctx ends.
func watchdog(ctx context.Context, patience time.Duration, bark func()) (alive func()) {
	calls := make(chan struct{}, 1)
	go func() {
		for {
			tick, stop := clock.System{}.Timer(patience)
			select {
			case <-calls:
				stop()
			case <-tick:
				bark()
				return
			case <-ctx.Done():
				stop()
				return
			}
		}
	}()
	return func() {
		select {
		case calls <- struct{}{}:
		default:
		}
	}
}

var (
	_ fsck.Store   = (*remote)(nil)
	_ fsck.Targets = (*remote)(nil)
	_ fsck.Ledger  = (*remote)(nil)
)
