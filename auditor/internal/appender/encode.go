package appender

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/auditor/internal/ledger"
	"github.com/curfew-project/curfew/shared/event"
)

// longest is what is left of a text that is cut. JSON may need six bytes for
// one; ids are left whole, the issuer bounds them.
const longest = 256

// Encode gives e's line in the ledger. An event that is too large for an entry
// is cut rather than refused: it would stop the record for all that follow.
func Encode(e event.Event) ([]byte, error) {
	line, err := json.Marshal(e)
	if err == nil && len(line) > ledger.MaxEntrySize {
		line, err = json.Marshal(shorten(e))
	}
	if err == nil && len(line) > ledger.MaxEntrySize {
		err = fmt.Errorf("%d bytes", len(line))
	}
	if err != nil {
		return nil, fmt.Errorf("encode event %s: %w", e.Position, err)
	}
	return line, nil
}

// Holds reports whether line is what the ledger has of e, also where another
// release wrote it.
func Holds(line []byte, e event.Event) bool {
	var kept event.Event
	if json.Unmarshal(line, &kept) != nil {
		return false
	}
	if kept.Same(&e) {
		return true
	}
	e = shorten(e)
	return kept.Same(&e)
}

// shorten cuts the texts that others choose.
func shorten(e event.Event) event.Event {
	d := &e.Data
	texts := []*string{
		&d.Mount, &d.Role, &d.Target, &d.Account, &d.Reason, &d.SessionsNote, &d.Error, &d.Path,
		&d.Actor.Name, &d.Actor.DisplayName, &d.Actor.Address, &d.Actor.RequestID,
	}
	if e.Subject != string(d.LeaseID) {
		texts = append(texts, &e.Subject)
	}
	if d.IssuedBy != nil {
		by := *d.IssuedBy
		d.IssuedBy = &by
		texts = append(texts, &by.Name, &by.DisplayName, &by.Address, &by.RequestID)
	}
	const most = 4
	if d.Fields = slices.Clone(d.Fields); len(d.Fields) > most {
		d.Fields = append(d.Fields[:most], fmt.Sprintf("… %d more", len(d.Fields)-most))
	}
	if d.Policies = slices.Clone(d.Policies); len(d.Policies) > most {
		d.Policies = append(d.Policies[:most], fmt.Sprintf("… %d more", len(d.Policies)-most))
	}
	for _, list := range [][]string{d.Fields, d.Policies} {
		for i := range list {
			texts = append(texts, &list[i])
		}
	}
	for _, text := range texts {
		*text = cut(*text)
	}
	return e
}

func cut(s string) string {
	if len(s) <= longest {
		return s
	}
	return fmt.Sprintf("%s… (cut from %d bytes)", strings.ToValidUTF8(s[:longest], ""), len(s))
}
