package report

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Report is a run.
type Report struct {
	When     time.Time `json:"when"`
	Command  string    `json:"command"`
	Form     string    `json:"form"` // what was measured
	Machine  string    `json:"machine"`
	Postgres string    `json:"postgres"` // of the target
	Rows     []Row     `json:"rows"`
	// Series are for plots: name to points.
	Series map[string][]Point `json:"series,omitempty"`
}

// Row is one measurement.
type Row struct {
	What    string  `json:"what"`
	Role    string  `json:"role,omitempty"`
	Clients int     `json:"clients,omitempty"`
	Count   int     `json:"count"` // what succeeded
	Errors  int     `json:"errors"`
	Error   string  `json:"error,omitempty"` // the most frequent one
	Rate    float64 `json:"per_second"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Max     float64 `json:"max_ms"`

	// Bare is the rate of the same SQL without a server, in batches; Single with a
	// transaction for each account.
	Bare   float64 `json:"bare_per_second,omitempty"`
	Single float64 `json:"single_per_second,omitempty"`

	// Processor time for each operation, in microseconds.
	Server float64 `json:"server_us,omitempty"`
	Target float64 `json:"target_us,omitempty"`
	Load   float64 `json:"load_us,omitempty"`

	More map[string]float64 `json:"more,omitempty"`
}

// Ratio is the rate against the bare one; 0 where there is none.
func (r Row) Ratio() float64 {
	if r.Bare == 0 {
		return 0
	}
	return r.Rate / r.Bare
}

// Point is one of a plot.
type Point struct{ X, Y float64 }

// Milliseconds is d as the report has it.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// WriteJSON writes everything.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

// WriteTable writes the rows as a table of Markdown.
func (r *Report) WriteTable(w io.Writer) error {
	var out strings.Builder
	fmt.Fprintf(&out, "%s, %s, Postgres %s; %s\n\n", r.When.UTC().Format(time.DateTime), r.Machine, r.Postgres, r.Form)
	out.WriteString("| what | role | clients | count | errors | per second | p50 ms | p99 ms | max ms | bare | of bare | one by one | CPU µs: server, target, load | |\n")
	out.WriteString("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|---|\n")
	for _, row := range r.Rows {
		fmt.Fprintf(&out, "| %s | %s | %s | %d | %d | %s | %s | %s | %s | %s | %s | %s | %.0f, %.0f, %.0f | %s |\n",
			row.What, row.Role, strings.TrimPrefix(strconv.Itoa(row.Clients), "0"), row.Count, row.Errors, number(row.Rate), number(row.P50), number(row.P99), number(row.Max),
			number(row.Bare), percent(row.Ratio()), number(row.Single), row.Server, row.Target, row.Load, row.more())
	}
	if _, err := io.WriteString(w, out.String()); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// number has three digits that matter; nothing for 0.
func number(v float64) string {
	switch {
	case v == 0:
		return ""
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func percent(v float64) string {
	if v == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f %%", 100*v)
}
