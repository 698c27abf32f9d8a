//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
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
}

// TestRecordings: what a stock client sent to a stock server gets the recorded
// answers. Status, headers, keys, fixed values and texts of errors are compared
// exactly; every deviation is in the list of intended differences, and every
// entry of that list occurs.
func TestRecordings(t *testing.T) {
	t.Parallel()
	target := articleTarget(t, testkit.SuperuserAdmin, testkit.Durable()) // or a warning says that fsync is off
	s := newCurfew(t)
	r := &replay{server: s, target: target, values: values{
		"<root>":   s.root,
		"<target>": fmt.Sprintf("%s:%d", target.Host(), target.Port()),
		"<dead>":   fmt.Sprintf("127.0.0.1:%d", testkit.Port(t)), // nobody listens there
	}}
	list := intended()
	uses := make([]int, len(list))
	all := true
	for _, name := range recordings() {
		if name == "08-errors" {
			r.between(t)
		}
		for _, step := range readRecording(t, name).Steps {
			ran := false
			t.Run(name+"/"+step.Name, func(t *testing.T) {
				ran = true
				r.step(t, name, &step, list, uses)
			})
			all = all && ran
		}
	}
	if !all {
		return // a selection says nothing about the list
	}
	for i, d := range list {
		if uses[i] == 0 {
			t.Errorf("an intended difference no longer occurs; take it off the list: %+v", d)
		}
	}
}

// between writes the roles that 08 finds: recordings between 03 and 08 made
// them.
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
}

func (r *replay) step(t *testing.T, name string, step *recorded, list []difference, uses []int) {
	t.Helper()
	for i := range step.Exchanges {
		x := &step.Exchanges[i]
		time.Sleep(time.Duration(x.Pause) * time.Second) // part of the recording
		for deadline := time.Now().Add(hang); ; time.Sleep(pace) {
			known := maps.Clone(r.values)
			found, err := r.exchange(t, x)
			must(t, err, "exchange")
			var left []mismatch
			var used []int
			for _, m := range found {
				m.recording, m.step, m.exchange = name, step.Name, i+1
				if at := allowed(list, m); len(at) > 0 {
					used = append(used, at...)
				} else {
					left = append(left, m)
				}
			}
			if len(left) > 0 && x.Eventually && time.Now().Before(deadline) {
				r.values = known
				continue
			}
			for _, at := range used {
				uses[at]++
			}
			for _, m := range left {
				t.Error(m)
			}
			break
		}
	}
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
