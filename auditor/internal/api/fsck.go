package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/curfew-project/curfew/auditor/internal/examine"
	"github.com/curfew-project/curfew/shared/fsck"
)

// fsck answers with lines of JSON, the last of which is the end: without it the
// answer was cut off.
func (h *Handler) fsck(w http.ResponseWriter, r *http.Request) {
	share, err := shareOf(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, err.Error())
		return
	}
	leave, ok := enter(w, h.checks, "checks of the record")
	if !ok {
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	out, lines := http.NewResponseController(w), json.NewEncoder(w)
	err = examine.Record(r.Context(), h.ledger, share, func(l fsck.Line) error {
		_ = out.SetWriteDeadline(h.clock.Now().Add(h.cfg.Write)) // not every writer can
		if err := lines.Encode(l); err != nil {
			return fmt.Errorf("write a line: %w", err)
		}
		if l.Read == 0 {
			return nil
		}
		return out.Flush() // a sign of life
	})
	if err != nil && r.Context().Err() == nil {
		h.log.Error().Err(err).Msg("the record could not be checked to its end")
	}
}

// shareOf reads which leases are asked for.
func shareOf(v url.Values) (fsck.Share, error) {
	var s fsck.Share
	for name := range v {
		n, err := strconv.ParseUint(v.Get(name), 10, 32)
		if err != nil {
			return s, fmt.Errorf("%s is not a number", name)
		}
		switch name {
		case "part":
			s.Part = n
		case "of":
			s.Of = n
		default:
			return s, fmt.Errorf("unknown parameter %q: want part or of", name)
		}
	}
	if s.Part > 0 && s.Part >= s.Of {
		return s, errors.New("part is not below of")
	}
	return s, nil
}
