package issuer_test

import (
	"slices"
	"testing"
)

// A3: revoke-orphan ends a token and leaves its child, which is an orphan from
// then on; a token without sudo may neither do it nor list the others.
func TestRevokeOrphan(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	parent := w.token(`{"policies":["a"],"ttl":"1h"}`).Auth
	child := w.ok(w.as(parent.ClientToken, "POST", "auth/token/create", `{"ttl":"30m"}`), 200).envelope(t).Auth
	body := `{"token":"` + parent.ClientToken + `"}`
	w.ok(w.as(child.ClientToken, "PUT", "auth/token/revoke-orphan", body), 403)
	w.ok(w.as(child.ClientToken, "LIST", "auth/token/accessors", ""), 403)
	w.ok(w.do("PUT", "auth/token/revoke-orphan", body), 204)
	w.refused(w.as(parent.ClientToken, "GET", "auth/token/lookup-self", ""), 403, "permission denied")
	if got := w.self(child.ClientToken); got["orphan"] != true || got["accessor"] != child.Accessor {
		t.Fatalf("the child is %v", got)
	}
	renewed := w.ok(w.do("PUT", "auth/token/renew-accessor", `{"accessor":"`+child.Accessor+`"}`), 200).envelope(t).Auth
	if renewed.ClientToken != "" || renewed.LeaseDuration != 1800 || !renewed.Orphan {
		t.Fatalf("renewed as %+v", renewed)
	}
}

// Accessors are listed in pages, without tokens that have ended.
func TestListAccessors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var want []string
	for range 5 {
		want = append(want, w.token(`{"policies":["a"],"ttl":"1h"}`).Auth.Accessor)
	}
	want = append(want, w.self(w.root)["accessor"].(string))
	ended := w.token(`{"policies":["a"],"ttl":"1h"}`).Auth
	w.ok(w.do("PUT", "auth/token/revoke", `{"token":"`+ended.ClientToken+`"}`), 204)
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		page := w.do("LIST", "auth/token/accessors?limit=4&after="+after, "")
		if page.code == 404 {
			break
		}
		keys := w.ok(page, 200).envelope(t).Data["keys"].([]any)
		for _, k := range keys {
			got = append(got, k.(string))
		}
		if len(keys) < 4 {
			break
		}
	}
	slices.Sort(want)
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Fatalf("listed %v, want %v", got, want)
	}
}
