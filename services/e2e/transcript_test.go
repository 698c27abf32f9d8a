//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/curfew-project/curfew/shared/testkit"
)

// replay sends recorded requests to a server and compares the answers.
type replay struct {
	server *curfew
	target *target
	values values
	list   []difference
	uses   []int // of each difference
}

// TestRecordings: what a stock client sent to a stock server gets the recorded
// answers. Status, headers, keys, fixed values and texts of errors are compared
// exactly; every deviation is in the list of intended differences, and every
// entry of that list occurs.
func TestRecordings(t *testing.T) {
	t.Parallel()
	list := intended()
	r := &replay{server: uninitialised(t), values: values{}, list: list, uses: make([]int, len(list))}
	all := r.replay(t, initial)

	r.target = articleTarget(t, testkit.SuperuserAdmin, testkit.Durable()) // or a warning says that fsync is off
	r.server = newCurfew(t)
	r.values = values{
		"<root>":   r.server.root,
		"<target>": fmt.Sprintf("%s:%d", r.target.Host(), r.target.Port()),
		"<dead>":   fmt.Sprintf("127.0.0.1:%d", testkit.Port(t)), // nobody listens there
		"<log>":    filepath.Join(r.server.dir, "vault_audit.log"),
	}
	for _, name := range recordings() {
		if name == "08-errors" {
			r.between(t)
		}
		all = r.replay(t, name) && all
	}
	if !all {
		return // a selection says nothing about the list
	}
	for i, d := range list {
		if r.uses[i] == 0 {
			t.Errorf("an intended difference no longer occurs; take it off the list: %+v", d)
		}
	}
}

// replay replays one recording and reports whether all of it ran.
func (r *replay) replay(t *testing.T, name string) (all bool) {
	t.Helper()
	all = true
	for _, step := range readRecording(t, name).Steps {
		ran := false
		t.Run(name+"/"+step.Name, func(t *testing.T) {
			ran = true
			r.step(t, name, &step)
		})
		all = all && ran
	}
	return all
}

// between writes the roles that 08 finds: recordings that are not replayed made
// them. It ends the token of a minute that 04 made: whether 08 still finds that
// would be a matter of time.
func (r *replay) between(tb testing.TB) {
	tb.Helper()
	for name, ttl := range map[string][2]string{"short": {"10s", "15s"}, "readonly3s": {"3s", "1h"}} {
		body := plain(map[string]string{
			"db_name": "my-postgres", "creation_statements": s1Creation, "default_ttl": ttl[0], "max_ttl": ttl[1],
		})
		if a := r.server.mustSend(tb, http.MethodPut, "/v1/database/roles/"+name, body); a.status/100 != 2 {
			tb.Fatalf("write role %s: %d %s", name, a.status, a.body)
		}
	}
	body := plain(map[string]string{"allowed_roles": "readonly,short,readonly3s,longer", "verify_connection": "false"})
	if a := r.server.mustSend(tb, http.MethodPut, "/v1/database/config/my-postgres", body); a.status != http.StatusNoContent {
		tb.Fatalf("allow the roles: %d %s", a.status, a.body)
	}
	if a := r.server.mustSend(tb, http.MethodPut, "/v1/auth/token/revoke", jsonOf("token", r.values["<token-407>"])); a.status != http.StatusNoContent {
		tb.Fatalf("end a token: %d %s", a.status, a.body)
	}
}

// step replays one step. Where its times matter and this machine was late, a
// mismatch says nothing: it is done again, from values as they were.
func (r *replay) step(t *testing.T, name string, step *recorded) {
	t.Helper()
	const tries, late = 5, 2 * time.Second
	known := maps.Clone(r.values)
	for try := 1; ; try++ {
		left, used, took := r.once(t, name, step)
		if len(left) > 0 && step.Timed && took > late && try < tries {
			t.Logf("done again: %v were lost on the way, and so %d answers are others", took, len(left))
			r.values = maps.Clone(known)
			continue
		}
		for _, at := range used {
			r.uses[at]++
		}
		for _, m := range left {
			t.Error(m)
		}
		return
	}
}

// once replays a step. It returns the mismatches that are not intended, the
// differences that occurred, and how long it took beyond its pauses.
func (r *replay) once(t *testing.T, name string, step *recorded) (left []mismatch, used []int, took time.Duration) {
	t.Helper()
	began := time.Now()
	for i := range step.Exchanges {
		x := &step.Exchanges[i]
		pause := time.Duration(x.Pause) * time.Second // part of the recording
		time.Sleep(pause)
		took -= pause
		for deadline := time.Now().Add(hang); ; time.Sleep(pace) {
			known := maps.Clone(r.values)
			found, err := r.exchange(t, x)
			must(t, err, "exchange")
			var odd []mismatch
			var here []int
			for _, m := range found {
				m.recording, m.step, m.exchange = name, step.Name, i+1
				if at := allowed(r.list, m); len(at) > 0 {
					here = append(here, at...)
				} else {
					odd = append(odd, m)
				}
			}
			if len(odd) > 0 && x.Eventually && time.Now().Before(deadline) {
				r.values = known
				continue
			}
			left, used = append(left, odd...), append(used, here...)
			break
		}
	}
	return left, used, took + time.Since(began)
}

func (r *replay) exchange(tb testing.TB, x *exchange) ([]mismatch, error) {
	tb.Helper()
	if x.Query != "" {
		return r.query(tb, x)
	}
	token, body := r.server.root, r.values.fill(x.Raw)
	if x.Token != nil {
		token = r.values.fill(*x.Token)
	}
	if x.Body != nil {
		body = plain(r.values.fillAll(x.Body))
	}
	header := map[string]string{}
	for name, value := range x.Header {
		header[name] = r.values.fill(value)
	}
	got, err := r.server.send(x.Method, r.values.fill(x.Path), token, body, header)
	if err != nil {
		return nil, err
	}
	c := &comparison{values: r.values}
	c.headers(x, got)
	c.body(x, got)
	return c.found, nil
}

// headers compares those that say something about the body.
func (c *comparison) headers(x *exchange, got *reply) {
	for _, name := range []string{"Cache-Control", "Content-Type", "Strict-Transport-Security", "X-Content-Type-Options"} {
		if want, is := x.AnswerHeader[name], got.header.Get(name); want != is {
			c.miss("header."+name, want, is)
		}
	}
}

// body compares the bodies: place by place where the status is the recorded
// one, else as a whole.
func (c *comparison) body(x *exchange, got *reply) {
	var is any
	d := json.NewDecoder(strings.NewReader(string(got.body)))
	d.UseNumber()
	switch err := d.Decode(&is); {
	case len(got.body) == 0:
		is = nil
	case err != nil || x.Text != "":
		if got.status != x.Status || string(got.body) != x.Text {
			c.answer(x, x.Text, got, string(got.body))
		}
		return
	}
	if got.status != x.Status || (is == nil) != (x.Answer == nil) {
		c.answer(x, x.Answer, got, is)
		return
	}
	c.compare("", x.Answer, is)
}

func (c *comparison) answer(x *exchange, want any, got *reply, is any) {
	c.found = append(c.found, mismatch{
		at: "answer", want: fmt.Sprint(x.Status, " ", plain(want)), got: fmt.Sprint(got.status, " ", plain(is)),
	})
}

// query compares the rows of a query in the target.
func (r *replay) query(tb testing.TB, x *exchange) ([]mismatch, error) {
	tb.Helper()
	url := r.target.AdminURL("postgres")
	if x.User != "" {
		url = r.target.URL(r.values.fill(x.User), r.values.fill(x.Password), "postgres")
	}
	conn, err := pgx.Connect(tb.Context(), url)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	results, err := conn.PgConn().Exec(tb.Context(), r.values.fill(x.Query)).ReadAll()
	if err != nil {
		return nil, err
	}
	rows := []any{}
	for _, row := range results[0].Rows {
		var cells []string
		for _, cell := range row {
			cells = append(cells, string(cell))
		}
		rows = append(rows, strings.Join(cells, "|"))
	}
	want := make([]any, len(x.Rows))
	for i := range x.Rows {
		want[i] = x.Rows[i]
	}
	c := &comparison{values: r.values}
	c.lists("rows", want, rows)
	return c.found, nil
}
