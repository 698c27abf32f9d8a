package event_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/lease"
)

func start() time.Time { return time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC) }

// life applies actions one after the other and returns the event of each.
func life(tb testing.TB, kind lease.Kind, actions ...lease.Action) []event.Event {
	tb.Helper()
	var l lease.Lease
	var all []event.Event
	for i, do := range append([]lease.Action{lease.Begin{Grace: time.Minute, Lease: lease.Lease{
		Kind: kind, Mount: "database/", Role: "r", Target: "t", Account: "a", TokenID: "k", TTL: time.Hour, Renewable: true, Uses: 2,
	}}}, actions...) {
		now := start().Add(time.Duration(i) * time.Second)
		c := lease.Change{ID: "database/creds/r/1", Version: l.Version, By: lease.Actor{Name: "who"}, Reason: "why", Do: do}
		after, err := c.Apply(l, now)
		if err != nil {
			tb.Fatalf("%T: %v", do, err)
		}
		all = append(all, event.Of(&l, &after, &c, now))
		l = after
	}
	return all
}

// A10: each transition has an event of the right type that says who, why, what
// and when.
func TestOf(t *testing.T) {
	t.Parallel()
	fail := lease.Progress{Failed: true, Error: "target is away", Parked: true}
	revoked := lease.Finish{To: lease.Revoked}
	for name, c := range map[string]struct {
		kind    lease.Kind
		actions []lease.Action
		want    []event.Type
	}{
		"a secret": {
			lease.Secret,
			[]lease.Action{lease.Activate{}, lease.Renew{}, lease.Revoke{}, lease.Progress{}, fail, lease.Retry{}, revoked},
			[]event.Type{
				event.LeaseIntent, event.LeaseCreated, event.LeaseRenewed, event.LeaseRevoking, event.LeaseProgress,
				event.LeaseRevocationFailed, event.LeaseProgress, event.LeaseRevoked,
			},
		},
		"an intent": {lease.Secret, []lease.Action{lease.Revoke{}, revoked}, []event.Type{event.LeaseIntent, event.LeaseRevoking, event.LeaseRolledBack}},
		"a token": {
			lease.Token,
			[]lease.Action{lease.Renew{}, lease.Revoke{}, revoked},
			[]event.Type{event.TokenCreated, event.TokenRenewed, event.TokenRevoking, event.TokenRevoked},
		},
		"a token of limited uses": {
			lease.Token,
			[]lease.Action{lease.Use{}, lease.Use{}, revoked},
			[]event.Type{event.TokenCreated, event.TokenUsed, event.TokenRevoking, event.TokenRevoked},
		},
		"a stray":   {lease.Stray, []lease.Action{revoked}, []event.Type{event.AccountStray, event.LeaseRevoked}},
		"ran out":   {lease.Secret, []lease.Action{lease.Activate{}, lease.Revoke{}, lease.Finish{To: lease.Expired}}, []event.Type{event.LeaseIntent, event.LeaseCreated, event.LeaseRevoking, event.LeaseExpired}},
		"given up":  {lease.Secret, []lease.Action{lease.Revoke{}, lease.Finish{To: lease.Abandoned}}, []event.Type{event.LeaseIntent, event.LeaseRevoking, event.LeaseAbandoned}},
		"recovered": {lease.Secret, []lease.Action{lease.Revoke{}, fail, lease.Progress{}}, []event.Type{event.LeaseIntent, event.LeaseRevoking, event.LeaseRevocationFailed, event.LeaseProgress}},
	} {
		all := life(t, c.kind, c.actions...)
		for i, e := range all {
			d := e.Data
			if e.Type != c.want[i] {
				t.Errorf("%s, event %d: %s, want %s", name, i, e.Type, c.want[i])
			}
			if e.Subject != "database/creds/r/1" || d.LeaseID != "database/creds/r/1" || d.Version != int64(i)+1 || d.Kind != c.kind ||
				d.Mount != "database/" || d.Role != "r" || d.Target != "t" || d.Account != "a" || d.TokenID != "k" ||
				d.Actor.Name != "who" || d.Reason != "why" || !e.Time.Equal(start().Add(time.Duration(i)*time.Second)) {
				t.Errorf("%s, event %d does not say all: %+v", name, i, e)
			}
			if (d.Error != "") != (e.Type == event.LeaseRevocationFailed) {
				t.Errorf("%s, event %d, %s: error %q", name, i, e.Type, d.Error)
			}
			if over := e.Data.State.Final(); over != (d.EndedAt != nil) {
				t.Errorf("%s, event %d: %s ended at %v", name, i, d.State, d.EndedAt)
			}
		}
	}
}

// A7: an intent says how long its credential lives, in whole seconds and never
// less than that; what is restored as an intent does so too, and nothing else.
func TestOfSaysTheTermOfAnIntent(t *testing.T) {
	t.Parallel()
	for ttl, want := range map[time.Duration]int64{
		0: 0, 1: 1, time.Second: 1, time.Second + 1: 2, time.Hour: 3600, 1<<63 - 1: 9223372037,
	} {
		k := lease.Lease{Kind: lease.Secret, State: lease.Intent, Version: 1, TTL: ttl}
		begin := lease.Begin{Grace: time.Minute, Lease: k}
		for _, first := range []lease.Action{begin, lease.Restore{Known: k}} {
			var l lease.Lease
			for i, do := range []lease.Action{first, lease.Activate{}, lease.Renew{}, lease.Revoke{}, lease.Finish{To: lease.Revoked}} {
				c := lease.Change{ID: "a/1", Version: l.Version, Do: do}
				after, err := c.Apply(l, start())
				if err != nil && !errors.Is(err, lease.ErrNotRenewable) {
					t.Fatalf("%T: %v", do, err)
				}
				want := want
				if i > 0 {
					want = 0
				}
				if got := event.Of(&l, &after, &c, start()).Data.TTLSeconds; got != want {
					t.Errorf("%T, granted for %s: it says %d s, want %d", do, ttl, got, want)
				}
				l = after
			}
		}
	}
}

// A10: who issued it is said where another acts; a reason that the change does
// not give is that of the revocation.
func TestOfAnotherActor(t *testing.T) {
	t.Parallel()
	before := lease.Lease{ID: "a/1", State: lease.Active, IssuedBy: lease.Actor{Name: "issuer"}, ExpiresAt: start(), Version: 4}
	c := lease.Change{ID: "a/1", Version: 4, By: lease.System(lease.ActorExpiry), Do: lease.Revoke{If: lease.IfDue}}
	after, err := c.Apply(before, start())
	if err != nil {
		t.Fatal(err)
	}
	e := event.Of(&before, &after, &c, start())
	if e.Data.IssuedBy == nil || e.Data.IssuedBy.Name != "issuer" || e.Data.Actor.Name != lease.ActorExpiry || e.Data.Reason != lease.ReasonExpired {
		t.Errorf("the event is %+v", e.Data)
	}
}

// Law: no field of an event can hold the plan, the handle or anything else that
// an engine keeps: there is no bag.
func TestDataIsAnAllowList(t *testing.T) {
	t.Parallel()
	for f := range reflect.TypeFor[event.Data]().Fields() {
		bag := f.Type.Kind() == reflect.Map || f.Type.Kind() == reflect.Interface
		names := f.Name == "Fields" || f.Name == "Policies" // bounded by who makes the event
		if bag || f.Type.Kind() == reflect.Slice && !names {
			t.Errorf("%s is a %s: anything fits", f.Name, f.Type)
		}
	}
	var l lease.Lease
	c := lease.Change{ID: "a/1", Do: lease.Begin{Lease: lease.Lease{Kind: lease.Secret, Plan: []byte("PLAN")}}}
	after, err := c.Apply(l, start())
	if err != nil {
		t.Fatal(err)
	}
	after.Handle = []byte("HANDLE")
	body, err := json.Marshal(event.Of(&l, &after, &c, start()))
	if err != nil || strings.Contains(string(body), "UExBTg") || strings.Contains(string(body), "SEFORExF") {
		t.Errorf("%s, %v", body, err)
	}
}

func drawText(t *rapid.T, label string) string { return rapid.String().Draw(t, label) }

func drawEvent(t *rapid.T) event.Event {
	when := func(label string) *time.Time {
		if !rapid.Bool().Draw(t, label+" is set") {
			return nil
		}
		at := start().Add(time.Duration(rapid.Int64Range(0, 1<<55).Draw(t, label)))
		return &at
	}
	return event.Event{
		Position: event.Position{Epoch: rapid.Int64Range(0, 1<<62).Draw(t, "epoch"), Number: rapid.Int64Range(0, 1<<62).Draw(t, "number")},
		Type:     rapid.SampledFrom([]event.Type{event.LeaseIntent, event.RequestDenied, event.AccountStray}).Draw(t, "type"),
		Time:     start().Add(time.Duration(rapid.Int64Range(0, 1<<55).Draw(t, "time"))),
		Subject:  drawText(t, "subject"),
		Data: event.Data{
			LeaseID: lease.ID(drawText(t, "lease")), Version: rapid.Int64().Draw(t, "version"), TTLSeconds: rapid.Int64().Draw(t, "ttl"), Mount: drawText(t, "mount"),
			Actor: lease.Actor{Name: drawText(t, "actor")}, Reason: drawText(t, "reason"), ExpiresAt: when("expires"), EndedAt: when("ended"),
			Parked: rapid.Bool().Draw(t, "parked"), Attempts: rapid.Int().Draw(t, "attempts"), Status: rapid.IntRange(0, 999).Draw(t, "status"),
			Fields: rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "fields"),
		},
	}
}

// Law: what was encoded is decoded to the same.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e := drawEvent(t)
		h, body, err := event.Encode(e, "/curfew/installation")
		if err != nil {
			t.Fatal(err)
		}
		if back, err := event.Decode(h, body); err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("decoded is %+v, %v; encoded was %+v", back, err, e)
		}
		if id := h[event.HeaderMsgID]; len(id) != 1 || id[0] != e.Position.String() || h["ce-id"][0] != id[0] {
			t.Fatalf("the ids are %v, want %s (D3)", h, e.Position)
		}
	})
}

// Golden: the wire format, CloudEvents 1.0 in binary mode.
func TestEncodedFormat(t *testing.T) {
	t.Parallel()
	e := event.Event{
		Position: event.Position{Epoch: 2, Number: 71}, Type: event.LeaseRevoked, Time: start(), Subject: "database/creds/r/1",
		Data: event.Data{LeaseID: "database/creds/r/1", Version: 4, Actor: lease.System(lease.ActorExpiry)},
	}
	h, body, err := event.Encode(e, "/curfew/x")
	if err != nil {
		t.Fatal(err)
	}
	want := event.Headers{
		"ce-id": {"2-71"}, "Nats-Msg-Id": {"2-71"}, "ce-source": {"/curfew/x"}, "ce-specversion": {"1.0"},
		"ce-type": {"io.curfew.lease.revoked"}, "ce-time": {"2030-01-02T03:04:05.000000006Z"},
		"ce-subject": {"database/creds/r/1"}, "content-type": {"application/json"},
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("headers are %v, want %v", h, want)
	}
	if want := `{"lease_id":"database/creds/r/1","version":4,"actor":{"name":"system:expiry"}}`; string(body) != want {
		t.Errorf("the body is %s, want %s", body, want)
	}
	e.Data = event.Data{LeaseID: "database/creds/r/1", Version: 1, TTLSeconds: 3600}
	if _, body, err = event.Encode(e, "/curfew/x"); err != nil {
		t.Fatal(err)
	}
	if want := `{"lease_id":"database/creds/r/1","version":1,"actor":{"name":""},"ttl_seconds":3600}`; string(body) != want {
		t.Errorf("the body of an intent is %s, want %s", body, want)
	}
}

// Law: what is not ours is refused.
func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for header, bad := range map[string][]string{
		"ce-specversion": {"", "0.3", "2.0"}, "ce-type": {"", "com.example.lease.revoked"}, "ce-time": {"", "yesterday"}, "ce-id": {"", "x", "1-", "-1-2"},
	} {
		for _, value := range bad {
			h, body, err := event.Encode(event.Event{Type: event.LeaseRevoked, Time: start()}, "/x")
			if err != nil {
				t.Fatal(err)
			}
			h[header] = []string{value}
			if _, err := event.Decode(h, body); err == nil {
				t.Errorf("%s %q was taken", header, value)
			}
			delete(h, header)
			if _, err := event.Decode(h, body); err == nil {
				t.Errorf("a message without %s was taken", header)
			}
		}
	}
	h, _, err := event.Encode(event.Event{Type: event.LeaseRevoked, Time: start()}, "/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := event.Decode(h, []byte("no json")); err == nil {
		t.Error("a body that is no JSON was taken")
	}
}

// Law: a broker subject is legal, whatever the mount is called, and never holds
// the lease id (a subject costs the broker memory).
func TestBrokerSubject(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		mount := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z.*> /]{0,12}/`)).Draw(t, "mount")
		id := lease.NewID("database/creds/r")
		e := event.Event{Type: event.LeaseCreated, Subject: string(id), Data: event.Data{Mount: mount, LeaseID: id}}
		subject := event.BrokerSubject(e)
		_, random, _ := strings.Cut(strings.TrimPrefix(string(id), "database/creds/r"), "/")
		if strings.Contains(subject, random) {
			t.Fatalf("%q holds the lease id", subject)
		}
		for token := range strings.SplitSeq(subject, ".") {
			if token == "" || strings.ContainsAny(token, "*>") || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
				t.Fatalf("%q is no subject", subject)
			}
		}
		if !strings.HasPrefix(subject, "curfew.event.lease.created") {
			t.Fatalf("%q", subject)
		}
	})
	for mount, want := range map[string]string{
		"database/": "curfew.event.lease.created.database", "team a/db.1/": "curfew.event.lease.created.team_a.db_1",
		"": "curfew.event.lease.created", "*/>/": "curfew.event.lease.created._._",
	} {
		if got := event.BrokerSubject(event.Event{Type: event.LeaseCreated, Data: event.Data{Mount: mount}}); got != want {
			t.Errorf("mount %q: %q, want %q", mount, got, want)
		}
	}
}

func TestPositions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		draw := func(label string) event.Position {
			return event.Position{Epoch: rapid.Int64Range(0, 3).Draw(t, label), Number: rapid.Int64Range(0, 3).Draw(t, label)}
		}
		p, q := draw("p"), draw("q")
		if back, err := event.ParsePosition(p.String()); err != nil || back != p {
			t.Fatalf("%s is read as %v, %v", p, back, err)
		}
		n := 0
		for _, holds := range []bool{p.Before(q), q.Before(p), p == q} {
			if holds {
				n++
			}
		}
		if n != 1 || p.Before(q) != (slices.Compare([]int64{p.Epoch, p.Number}, []int64{q.Epoch, q.Number}) < 0) {
			t.Fatalf("%s and %s are not ordered", p, q)
		}
	})
}

// Law: what is read as a position is one, and has one spelling.
func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"1-2", "0-0", "-1-2", "1--2", "01-2", "+1-2", "1-2-3", " 1-2", "9223372036854775808-1", "", "-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := event.ParsePosition(s)
		switch {
		case err != nil && p != event.Position{}:
			t.Errorf("%q is refused and gives %s", s, p)
		case err == nil && (p.String() != s || p.Epoch < 0 || p.Number < 0):
			t.Errorf("%q is read as %s", s, p)
		}
	})
}

// Law: foreign bytes never panic, what decodes encodes again, and what
// encoding/json reads, too, is read the same.
func FuzzDecode(f *testing.F) {
	for _, e := range life(f, lease.Secret, lease.Activate{Handle: []byte("1")}, lease.Revoke{}, lease.Finish{To: lease.Revoked}) {
		h, body, err := event.Encode(e, "/x")
		if err != nil {
			f.Fatal(err)
		}
		f.Add("1-2", h["ce-type"][0], h["ce-time"][0], h["ce-subject"][0], body)
	}
	f.Add("1-2", "io.curfew.lease.revoked", "2030-01-02T03:04:05Z", "s", []byte(`{"actor":{"name":"x"}}`))
	f.Add("1-2", "io.curfew.", "2030-01-02T03:04:05+01:00", "", []byte(`{}`))
	f.Fuzz(func(t *testing.T, id, typ, at, subject string, body []byte) {
		e, err := event.Decode(event.Headers{
			"ce-specversion": {"1.0"}, "ce-id": {id}, "ce-type": {typ}, "ce-time": {at}, "ce-subject": {subject},
		}, body)
		var want event.Data
		refused := json.Unmarshal(body, &want)
		if err != nil {
			return
		}
		if refused == nil && !reflect.DeepEqual(e.Data, want) {
			t.Errorf("read as %+v, by encoding/json as %+v", e.Data, want)
		}
		h, again, err := event.Encode(e, "/x")
		if err != nil {
			return // a year that has no JSON
		}
		if back, err := event.Decode(h, again); err != nil || back.Position != e.Position || back.Type != e.Type || !back.Time.Equal(e.Time) {
			t.Errorf("%+v became %+v, %v", e, back, err)
		}
	})
}
