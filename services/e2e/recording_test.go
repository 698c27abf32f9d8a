//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// recording is what a stock client and a stock server said to each other, as
// testdata/recordings has it. What differs from run to run is a placeholder,
// such as "<lease-3>": its first occurrence in an answer captures the value,
// all others stand for it.
type recording struct {
	Recorded     string            `json:"recorded"`
	AnswerHeader map[string]string `json:"answerHeader"` // of every answer that has none of its own
	Steps        []recorded        `json:"steps"`
}

// recorded is one command of a person and what it caused.
type recorded struct {
	Name      string     `json:"name"`
	Run       string     `json:"run"`   // as it was typed; for readers
	Timed     bool       `json:"timed"` // what is answered depends on when it was asked
	Exchanges []exchange `json:"exchanges"`
}

// exchange is a request and its answer, or a query in the target and its rows.
type exchange struct {
	Method       string            `json:"method"`
	Path         string            `json:"path"`
	Token        *string           `json:"token"` // the root token where it is missing
	Header       map[string]string `json:"header"`
	Body         any               `json:"body"`
	Raw          string            `json:"raw"` // a body that is no JSON object
	Status       int               `json:"status"`
	AnswerHeader map[string]string `json:"answerHeader"`
	Answer       any               `json:"answer"`
	Text         string            `json:"text"` // an answer that is no JSON

	Query    string   `json:"query"` // as the superuser, or as User
	User     string   `json:"user"`
	Password string   `json:"password"`
	Rows     []string `json:"rows"` // as psql -At prints them

	Pause      int  `json:"pause"`      // seconds that the person waited before it
	Eventually bool `json:"eventually"` // the recording waited; here it is repeated until it fits
}

// initial is the recording of a server that is not yet initialised.
const initial = "01-init-unseal-health"

// recordings are the files that are replayed, in this order, against one
// server: each goes on where the one before it ended. 07 comes last because it
// may take several times as long.
func recordings() []string {
	return []string{"02-database-engine", "03-leases", "04-policy-token", "05-audit", "06-wrapping", "08-errors", "07-approle-agent"}
}

func readRecording(tb testing.TB, name string) *recording {
	tb.Helper()
	file, err := os.Open(filepath.Join("testdata", "recordings", name+".json"))
	must(tb, err, "open recording")
	defer func() { _ = file.Close() }()
	d := json.NewDecoder(file)
	d.UseNumber()
	d.DisallowUnknownFields()
	var r recording
	must(tb, d.Decode(&r), "read recording "+name)
	for i := range r.Steps {
		for j := range r.Steps[i].Exchanges {
			if x := &r.Steps[i].Exchanges[j]; x.AnswerHeader == nil {
				x.AnswerHeader = r.AnswerHeader
			}
		}
	}
	return &r
}

// mismatch is one place where an answer is not as recorded.
type mismatch struct {
	recording, step string
	exchange        int // from 1
	// at is "data.ttl", say; "answer", if the status is another one; "header.X",
	// "form.token", or "rows".
	at        string
	want, got string // JSON; after the status at "answer"; "none" where there is nothing
}

func (m mismatch) String() string {
	return fmt.Sprintf("%s: %q, exchange %d, at %q:\n  recorded %s\n  got      %s", m.recording, m.step, m.exchange, m.at, m.want, m.got)
}
