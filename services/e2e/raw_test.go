//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// reply is an answer as it came over the wire.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// errors are the texts of an error body; nil where it is none.
func (r *reply) errors() []string {
	var body struct {
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(r.body, &body) != nil {
		return nil
	}
	return body.Errors
}

// send makes one request. A header with no value is left out, and so is the
// token where it is empty.
func (c *curfew) send(method, path, token, body string, header map[string]string) (*reply, error) {
	req, err := http.NewRequest(method, c.url()+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body == "" {
		req.Body = nil
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	res, err := (&http.Client{Transport: transport, Timeout: hang}).Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	return &reply{res.StatusCode, res.Header, text}, nil
}

// mustSend is send for a server that has to answer.
func (c *curfew) mustSend(tb testing.TB, method, path, body string) *reply {
	tb.Helper()
	r, err := c.send(method, path, c.root, body, nil)
	must(tb, err, method+" "+path)
	return r
}

// data reads the data of an answer with status 200.
func (c *curfew) data(tb testing.TB, path string, into any) {
	tb.Helper()
	r := c.mustSend(tb, http.MethodGet, path, "")
	if r.status != http.StatusOK {
		tb.Fatalf("GET %s: %d: %s", path, r.status, r.body)
	}
	frame := struct {
		Data any `json:"data"`
	}{into}
	must(tb, json.Unmarshal(r.body, &frame), "decode "+path)
}

// plain is JSON with sorted keys and no blanks.
func plain(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSpace(b.String())
}
