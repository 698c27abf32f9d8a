package issuer_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/event"
)

// passwordText is the policy of the stock documentation.
const passwordText = `
length = 20

rule "charset" {
  charset   = "abcdefghijklmnopqrstuvwxyz"
  min-chars = 1
}

rule "charset" {
  charset   = "0123456789"
  min-chars = 2
}
`

const passwordPolicy = `{"policy":"length = 8\nrule \"charset\" { charset = \"abc\" }"}`

func policyBody(t *testing.T, text string) string {
	t.Helper()
	b, err := json.Marshal(map[string]string{"policy": text})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPasswordPolicies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.do("LIST", "sys/policies/password", ""), 404)
	w.refused(w.do("GET", "sys/policies/password/p", ""), 404, "policy does not exist")
	w.refused(w.do("GET", "sys/policies/password/p/generate", ""), 404, "policy does not exist")
	w.ok(w.do("DELETE", "sys/policies/password/p", ""), 204)
	for name, text := range map[string]string{
		"p": passwordText, "encoded": base64.StdEncoding.EncodeToString([]byte(passwordText)),
		"a/b": `{"length":20,"rule":[{"charset":{"charset":"abc","min-chars":1}},{"charset":[{"charset":"0123456789","min-chars":2}]}]}`,
	} {
		w.ok(w.do("PUT", "sys/policies/password/"+name, policyBody(t, text)), 204)
	}
	for _, name := range []string{"p", "encoded", "a/b"} {
		r := w.do("GET", "sys/policies/password/"+name, "")
		w.ok(r, 200)
		if got, _ := r.envelope(t).Data["policy"].(string); name != "a/b" && got != passwordText {
			t.Errorf("%s is read back as %q", name, got)
		}
		r = w.do("GET", "sys/policies/password/"+name+"/generate", "")
		w.ok(r, 200)
		got, _ := r.envelope(t).Data["password"].(string)
		if len(got) != 20 || strings.Trim(got, "abcdefghijklmnopqrstuvwxyz0123456789") != "" ||
			len(strings.Trim(got, "0123456789")) == 0 {
			t.Errorf("%s gave %q", name, got)
		}
		if strings.Contains(w.logs.String(), got) {
			t.Error("the log holds the password")
		}
	}
	r := w.do("LIST", "sys/policies/password", "")
	w.ok(r, 200)
	if got := r.envelope(t).Data["keys"]; len(got.([]any)) != 3 {
		t.Errorf("list %v", got)
	}
	r = w.do("LIST", "sys/policies/password?after=a/b&limit=1", "")
	w.ok(r, 200)
	if got := r.envelope(t).Data["keys"].([]any); len(got) != 1 || got[0] != "encoded" {
		t.Errorf("page %v", got)
	}
	w.ok(w.do("DELETE", "sys/policies/password/p", ""), 204)
	w.ok(w.do("GET", "sys/policies/password/p", ""), 404)
}

func TestPasswordPolicyRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for text, want := range map[string]string{
		``:                                   "missing policy",
		`length = =`:                         "invalid password policy: unable to decode: ",
		`{"length":`:                         "invalid password policy: unable to decode: ",
		`length = "20"`:                      "failed to decode configuration: length: a whole number is expected",
		`length = 99999999999999999999`:      "failed to decode configuration",
		`length = 20`:                        "invalid password policy: 1 error occurred:\n\t* no charset specified\n\n",
		`rule "charset" { charset = "abc" }`: "length must be > 0",
		"length = 3\nrule \"charset\" { charset = \"abc\" }":                                 "passwords must be between 4 and 100 characters",
		"length = 101\nrule \"charset\" { charset = \"abc\" }":                               "passwords must be between 4 and 100 characters",
		"length = 5\nrule \"charset\" {\n charset = \"abc\"\n min-chars = 6\n}":              "specified rules require at least 6 characters but 5 is specified",
		"length = 20\nrule \"regex\" { x = \"abc\" }":                                        "unable to parse rules: unable to parse rule regex: unrecognized rule type regex",
		"length = 20\nrule \"charset\" { charset = 5 }":                                      "failed to parse charset restriction: charset is not a string",
		"length = 20\nrule \"charset\" { charset = \"a\\u0007\" }":                           "non-printable character in charset",
		"length = 20\nrule = 5":                                                              "unable to parse rules",
		"length = 20\nlength = 21":                                                           "already set",
		"length = 20\nrule \"charset\" { charset = \"" + strings.Repeat("x", 20000) + "\" }": "unable to decode: more than",
		strings.Repeat("[", 512):                                                             "unable to decode",
		"a = " + strings.Repeat("[", 512):                                                    "unable to decode",
		"{" + strings.Repeat(`"a":{`, 511):                                                   "unable to decode",
		strings.Repeat("[", 16000):                                                           "unable to decode",
		"a = " + strings.Repeat("[", 16000):                                                  "unable to decode",
		"{" + strings.Repeat(`"a":{`, 3000):                                                  "unable to decode",
	} {
		r := w.ok(w.do("PUT", "sys/policies/password/p", policyBody(t, text)), 400)
		if got := r.envelope(t).Errors; len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%.80s: %q, want %q", text, got, want)
		}
	}
	w.ok(w.do("PUT", "sys/policies/password/"+strings.Repeat("n", 300), passwordPolicy), 400)
	w.ok(w.do("LIST", "sys/policies/password", ""), 404)
}

// A change and its record are one commit, and the record holds names only (A10,
// D6).
func TestPasswordPolicyIsOnTheRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.do("PUT", "sys/policies/password/p", passwordPolicy), 204)
	w.ok(w.do("DELETE", "sys/policies/password/p", ""), 204)
	var changed []string
	for _, e := range w.events(event.ConfigChanged) {
		if strings.HasPrefix(e.Subject, "sys/policies/password/") {
			changed = append(changed, e.Data.Operation)
		}
	}
	if len(changed) != 2 || changed[0] != "write" || changed[1] != "delete" {
		t.Errorf("changes on the record: %q", changed)
	}
}
