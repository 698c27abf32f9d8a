package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func example() *Report {
	return &Report{
		When: time.Unix(0, 0), Machine: "2 cores", Postgres: "15", Form: "one machine",
		Rows: []Row{{
			What: "issue", Role: "member", Clients: 8, Count: 10, Errors: 1, Error: "a|b", Rate: 250, P50: 1.5, P99: 12.25, Max: 130,
			Bare: 1000, Server: 300, More: map[string]float64{"gone_after_ms": 0},
		}},
		Series: map[string][]Point{
			"issue per second, member": {{1, 10}, {64, 250}}, "gone": {{0.1, 0}, {0.2, 99}}, "<odd & name>": {{1, 1}},
		},
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := example().WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	want := "| issue | member | 8 | 10 | 1 | 250 | 1.50 | 12.2 | 130 | 1000 | 25 % |  | 300, 0, 0 | gone after ms 0.0; a/b |\n"
	if !strings.HasSuffix(out.String(), want) {
		t.Errorf("the table is\n%s\nwant at its end\n%s", out.String(), want)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for _, line := range lines[2:] {
		if n := strings.Count(line, "|"); n != strings.Count(lines[2], "|") {
			t.Errorf("%d columns in %s", n, line)
		}
	}
}

// What is written is what was measured.
func TestJSON(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := example().WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Rows) != 1 || back.Rows[0].Rate != 250 || back.Series["gone"][1] != (Point{0.2, 99}) {
		t.Errorf("read back: %+v", back)
	}
}

// A plot is well-formed, whatever its names are, and has what was asked for.
func TestPlots(t *testing.T) {
	t.Parallel()
	r := example()
	plots := r.Plots()
	if len(plots) != 2 {
		t.Errorf("plots without lines are there: %v", plots)
	}
	plots["odd"] = Plot{Title: "a < b & c", X: "x", Y: "y", Lines: r.Series}
	for name, p := range plots {
		var out bytes.Buffer
		if err := p.Write(&out); err != nil {
			t.Fatal(err)
		}
		texts := map[string]bool{}
		for d := xml.NewDecoder(&out); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if s, ok := token.(xml.CharData); ok {
				texts[string(s)] = true
			}
		}
		for line := range p.Lines {
			if !texts[line] || !texts[p.Title] {
				t.Errorf("%s lacks %q: %v", name, line, texts)
			}
		}
	}
	if err := (Plot{}).Write(io.Discard); err == nil {
		t.Error("a plot of nothing is written")
	}
}
