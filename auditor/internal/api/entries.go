package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/curfew-project/curfew/auditor/internal/catalog"
	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

const (
	defaultLimit = 1000
	maxLimit     = 10_000
	// span is how far apart entries may be to be read in one go.
	span = 256
)

// entry is one event as the API shows it: the fields that people search by in
// front, everything else in data.
type entry struct {
	Epoch   int64      `json:"epoch"`
	Number  int64      `json:"number"`
	Type    event.Type `json:"type"`
	Time    time.Time  `json:"time"`
	Subject string     `json:"subject"`
	Version int64      `json:"version,omitempty"`
	Actor   string     `json:"actor"`
	Reason  string     `json:"reason,omitempty"`
	Data    event.Data `json:"data"`
}

func show(e event.Event) entry {
	return entry{
		Epoch: e.Position.Epoch, Number: e.Position.Number, Type: e.Type, Time: e.Time, Subject: e.Subject,
		Version: e.Data.Version, Actor: e.Data.Actor.Name, Reason: e.Data.Reason, Data: e.Data,
	}
}

func (h *Handler) entries(w http.ResponseWriter, r *http.Request) {
	q, err := parse(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	leave, ok := enter(w, h.searches, "searches")
	if !ok {
		return
	}
	defer leave()
	warnings := h.await(r.Context())
	at, err := h.catalog.Find(r.Context(), q)
	if err != nil {
		h.broken(w, r, err)
		return
	}
	h.answer(w, r, at, warnings)
}

// answer writes entries as they are read: a page of the largest size would be
// some hundred megabytes of values at once. What cannot be read before the first
// entry was written is a 500; later, the answer is cut short, so that no client
// takes it for whole.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, at []event.Position, warnings []string) {
	out := &page{to: w}
	for e, err := range h.read(r.Context(), at) {
		if err == nil {
			err = out.add(e)
		}
		switch {
		case err != nil && !out.begun:
			h.broken(w, r, err)
			return
		case err != nil:
			if r.Context().Err() == nil {
				h.log.Error().Err(err).Msg("the record could not be read to its end")
			}
			panic(http.ErrAbortHandler)
		}
	}
	out.end(warnings)
}

// page is an answer under way, in the envelope of the Vault API.
type page struct {
	to    http.ResponseWriter
	text  bytes.Buffer // what was not written yet
	begun bool         // something was
	n     int
}

// writes is how much is gathered between two writes, in bytes.
const writes = 64 << 10

func (p *page) add(e entry) error {
	if p.n == 0 {
		p.text.WriteString(`{"data":{"entries":[`)
	} else {
		p.text.WriteByte(',')
	}
	p.n++
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("entry %d-%d: %w", e.Epoch, e.Number, err)
	}
	if p.text.Write(text); p.text.Len() >= writes {
		p.write()
	}
	return nil
}

// end writes the rest. Whether it arrives is for the client to see.
func (p *page) end(warnings []string) {
	if p.n == 0 {
		p.text.WriteString(`{"data":{"entries":[`)
	}
	rest, err := json.Marshal(map[string]any{
		"request_id": lease.RandomBase62(24), "lease_id": "", "renewable": false, "lease_duration": 0,
		"wrap_info": nil, "warnings": warnings, "auth": nil,
	})
	if err != nil {
		panic(err) // texts and nothing else
	}
	p.text.WriteString(`]},`)
	p.text.Write(rest[1:])
	p.text.WriteByte('\n')
	p.write()
}

func (p *page) write() {
	if !p.begun {
		p.to.Header().Set("Content-Type", "application/json")
		p.begun = true
	}
	_, _ = p.text.WriteTo(p.to)
}

// await gives the catalogue a moment to have what the ledger has now, and says
// what a search may miss.
func (h *Handler) await(ctx context.Context) (warnings []string) {
	end, _ := h.end.At()
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Within)
	defer cancel()
	if at := h.catalog.Reached().Await(ctx, end); at.Before(end) {
		return []string{fmt.Sprintf("the catalogue is behind the record: entries from %s to %s are not searched yet",
			event.Position{Epoch: max(1, at.Epoch), Number: at.Number + 1}, end)}
	}
	return nil
}

// read reads entries in order of position, neighbours together.
func (h *Handler) read(ctx context.Context, at []event.Position) iter.Seq2[entry, error] {
	return func(yield func(entry, error) bool) {
		for len(at) > 0 {
			first, n := at[0], 1
			for n < len(at) && at[n].Epoch == first.Epoch && at[n].Number < first.Number+span {
				n++
			}
			run := at[:n]
			for e, err := range h.ledger.Entries(ctx, first.Epoch, first.Number, run[n-1].Number) {
				if err != nil {
					yield(entry{}, fmt.Errorf("read entries from %s: %w", first, err))
					return
				}
				if e.Number != run[0].Number {
					continue
				}
				if run = run[1:]; !yield(show(catalog.Decode(first.Epoch, e)), nil) {
					return
				}
			}
			if len(run) > 0 {
				yield(entry{}, fmt.Errorf("read entry %s: it is not in the ledger", run[0]))
				return
			}
			at = at[n:]
		}
	}
}

// parse reads a search. Unknown parameters are refused: a misspelled filter
// would find everything.
func parse(v url.Values) (catalog.Query, error) {
	q := catalog.Query{Limit: defaultLimit}
	for name, values := range v {
		if len(values) != 1 {
			return q, fmt.Errorf("%s is given more than once", name)
		}
		if err := set(&q, name, values[0]); err != nil {
			return q, err
		}
	}
	return q, nil
}

func set(q *catalog.Query, name, value string) (err error) {
	if value == "" {
		return nil
	}
	switch name {
	case "lease":
		q.Subject = value
	case "type":
		q.Type = value
	case "since":
		q.Since, err = moment(name, value)
	case "until":
		q.Until, err = moment(name, value)
	case "after":
		q.After, err = position(value)
	case "limit":
		if q.Limit, err = strconv.Atoi(value); err != nil || q.Limit < 1 || q.Limit > maxLimit {
			err = fmt.Errorf("limit is not a number from 1 to %d", maxLimit)
		}
	default:
		err = fmt.Errorf("unknown parameter %q: want lease, type, since, until, after or limit", name)
	}
	return err
}

func moment(name, value string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return t, fmt.Errorf("%s is not a time in RFC 3339", name)
	}
	return t, nil
}

// position takes an event id, or a plain number of the first epoch.
func position(s string) (event.Position, error) {
	p, err := event.ParsePosition(s)
	if n, plain := strconv.ParseInt(s, 10, 64); plain == nil && n >= 0 {
		p, err = event.Position{Epoch: 1, Number: n}, nil
	}
	if err != nil {
		return p, errors.New("after is not an event id such as 1-42")
	}
	return p, nil
}
