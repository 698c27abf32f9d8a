package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Rows of several tests are one table with one head, whose columns stand below
// each other.
func TestTable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "table")
	for _, r := range []Row{
		{Fault: "crash points", Rounds: 900, Leases: 12345, Clean: 2500 * time.Millisecond},
		{Fault: "random kills", Rounds: 300, Leases: 7, Clean: 29 * time.Second, Harm: Harm{1, 2, 3, 4}},
	} {
		if err := Add(file, r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 4 || strings.Count(string(text), "fault ") != 1 {
		t.Fatalf("the table is:\n%s", text)
	}
	for _, line := range lines {
		if len(line) != len(lines[0]) || strings.Count(line, "|") != 9 {
			t.Errorf("this line is not like the first:\n%s\n%s", lines[0], line)
		}
	}
	fields := strings.Fields(lines[3])
	if got := strings.Join(fields[1:], " "); got != "random kills | 300 | 7 | 29.0 s | 1 | 2 | 3 | 4 |" {
		t.Errorf("the second row says %q", got)
	}
	if err := Add("", Row{}); err != nil {
		t.Errorf("a table that nobody asked for: %v", err)
	}
}

// Harm adds up in each column.
func TestHarm(t *testing.T) {
	t.Parallel()
	h := Harm{Strays: 1, Early: 1}
	h.Add(Harm{1, 2, 3, 4})
	if want := (Harm{2, 2, 4, 4}); h != want || h.None() || !(Harm{}).None() {
		t.Errorf("harm is %+v, want %+v", h, want)
	}
}
