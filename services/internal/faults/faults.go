// Package faults is the table that `make fault` prints: one row for each fault
// that was done to an installation, with what it cost. Tests of several packages
// add rows to one file; an empty name of the file keeps none.
package faults

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// TableVariable is the environment variable that names the file.
const TableVariable = "CURFEW_FAULT_TABLE"

// Row is one fault.
type Row struct {
	Fault string // "crash points, distributed"
	// Rounds is how often it was done; Leases how many leases of accounts were
	// on record that had part in it.
	Rounds, Leases int
	// Clean is the longest time from the moment when the last process could work
	// until everything agreed.
	Clean time.Duration
	Harm
}

// Harm is what must never be: the last four columns.
type Harm struct {
	// Strays are accounts in the target that no live lease stands for.
	Strays int
	// Lost are leases or events that are gone, and leases without their account.
	Lost int
	// Early are credentials that were answered and ended before their time.
	Early int
	// Doubled are events that are on record twice, and second ends of a lease.
	Doubled int
}

// Add adds up.
func (h *Harm) Add(other Harm) {
	h.Strays += other.Strays
	h.Lost += other.Lost
	h.Early += other.Early
	h.Doubled += other.Doubled
}

// None reports whether there was no harm.
func (h Harm) None() bool { return h == Harm{} }

// Head are the first lines of the table, in Markdown.
const Head = `| fault                                    | rounds | leases | worst time to clean | strays | lost | early | doubled |
|------------------------------------------|-------:|-------:|--------------------:|-------:|-----:|------:|--------:|
`

// String is the line of the table.
func (r Row) String() string {
	return fmt.Sprintf("| %-40s | %6d | %6d | %17.1f s | %6d | %4d | %5d | %7d |\n",
		r.Fault, r.Rounds, r.Leases, r.Clean.Seconds(), r.Strays, r.Lost, r.Early, r.Doubled)
}

// Add adds rows to the file of a table, with its head where it is new.
func Add(file string, rows ...Row) (err error) {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the caller names it
	if err != nil {
		return fmt.Errorf("open the table: %w", err)
	}
	var text strings.Builder
	if info, err := f.Stat(); err == nil && info.Size() == 0 {
		text.WriteString(Head)
	}
	for _, r := range rows {
		text.WriteString(r.String())
	}
	if _, err = f.WriteString(text.String()); err != nil {
		_ = f.Close() // the first error says it
		return fmt.Errorf("write the table: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}
