//go:build e2e

package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestComparison: an answer that is not as recorded is found, wherever it
// differs; and one that is differs nowhere.
func TestComparison(t *testing.T) {
	t.Parallel()
	const answer = `{"lease_id":"database/creds/r/<lease-1>","lease_duration":3600,"renewable":true,"data":{"keys":["<lease-1>","<lease-2>","b"],"ttl":"<about-60>",` +
		`"username":"v-root-r-<user-1>","list":[1,2],"nothing":null},"warnings":["TTL capped at \"<about-9>s\""]}`
	const same = `{"lease_id":"database/creds/r/AAAAAAAAAAAAAAAAAAAAAAAA","lease_duration":3599,"renewable":true,"data":{"keys":["b","BBBBBBBBBBBBBBBBBBBBBBBB","AAAAAAAAAAAAAAAAAAAAAAAA"],"ttl":59,` +
		`"username":"v-root-r-abcdefghijklmnopqrst-1234567890","list":[1,2],"nothing":null},"warnings":["TTL capped at \"8s\""]}`
	for name, test := range map[string]struct{ old, new, at string }{
		"same":                  {"", "", ""},
		"status":                {"", "", "answer"},
		"header":                {"", "", "header"},
		"value":                 {`"renewable":true`, `"renewable":false`, "renewable"},
		"kind of value":         {`"renewable":true`, `"renewable":"true"`, "renewable"},
		"missing key":           {`"renewable":true,`, ``, "renewable"},
		"other key":             {`"renewable":true`, `"renewable":true,"more":1`, "more"},
		"text":                  {`TTL capped`, `TTL cut`, "warnings"},
		"null":                  {`"nothing":null`, `"nothing":{}`, "data.nothing"},
		"element":               {`[1,2]`, `[1,3]`, "data.list"},
		"length of a list":      {`[1,2]`, `[1]`, "data.list"},
		"number":                {`"ttl":59`, `"ttl":62`, "data.ttl"},
		"number below":          {`"ttl":59`, `"ttl":29`, "data.ttl"},
		"longer term":           {`3599`, `3601`, "lease_duration"},
		"much shorter term":     {`3599`, `3589`, "lease_duration"},
		"number in a text":      {`"8s`, `"11s`, "warnings"},
		"form":                  {`abcdefghijklmnopqrst-1234567890`, `abc-1`, "form.user"},
		"rest of a text":        {`v-root-r-`, `v-root-x-`, "data.username"},
		"value seen before":     {`"AAAAAAAAAAAAAAAAAAAAAAAA"]`, `"CCCCCCCCCCCCCCCCCCCCCCCC"]`, "data.keys"},
		"one key more":          {`"keys":[`, `"keys":["a",`, "data.keys"},
		"one key less":          {`"b",`, ``, "data.keys"},
		"answer without a body": {same, ``, "answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := &exchange{Status: http.StatusOK}
			must(t, decode(answer, &x.Answer), "decode")
			got := &reply{status: http.StatusOK, body: []byte(same)}
			if test.old != "" {
				got.body = []byte(strings.Replace(same, test.old, test.new, 1))
				if string(got.body) == same {
					t.Fatal("nothing was changed")
				}
			}
			if name == "status" {
				got.status = http.StatusAccepted
			}
			c := &comparison{values: values{"<lease-1>": strings.Repeat("A", 24)}}
			if name == "header" {
				x.AnswerHeader = map[string]string{"Cache-Control": "no-store"}
			}
			c.headers(x, got)
			c.body(x, got)
			switch {
			case test.at == "" && len(c.found) > 0:
				t.Errorf("found where nothing differs: %v", c.found)
			case test.at != "" && !slices.ContainsFunc(c.found, func(m mismatch) bool { return strings.HasPrefix(m.at, test.at) }):
				t.Errorf("not found at %q: %v", test.at, c.found)
			}
			if at := allowed(intended(), mismatch{step: "no such step", exchange: 1, at: "renewable", got: "false"}); len(at) > 0 {
				t.Errorf("entries %v allow everything", at)
			}
		})
	}
}

func decode(text string, into any) error {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	return d.Decode(into)
}
