package database

import (
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/store"
)

// When somebody looks at a role: at its time; at once where a rotation broke off,
// but not while it may be under way; and after a failure when that says so.
func TestStaticDue(t *testing.T) {
	t.Parallel()
	const within, now = 20 * time.Second, "c.7"
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	rotated := staticRole{Period: time.Minute, LastRotation: at(1000), Begun: at(999)}
	for name, c := range map[string]struct {
		change func(s *staticRole)
		want   time.Time
	}{
		"in time":       {func(*staticRole) {}, at(1060)},
		"never rotated": {func(s *staticRole) { s.LastRotation = time.Time{} }, time.Time{}},
		"under way":     {func(s *staticRole) { s.Pending, s.Begun = []byte("p"), at(1060) }, at(1080)},
		"stopped half-way": {func(s *staticRole) {
			s.Pending, s.Begun, s.Failure = []byte("p"), at(1060), staticFailure{Attempts: 1, At: at(1061)}
		}, time.Time{}},
		"taken up after a failure": {func(s *staticRole) {
			s.Pending, s.Begun, s.Failure = []byte("p"), at(1070), staticFailure{Attempts: 1, At: at(1061)}
		}, at(1090)},
		"the target was away": {func(s *staticRole) { s.Failure = staticFailure{Attempts: 3, At: at(1061), Connection: now} }, at(1060)},
		"a person is needed": {func(s *staticRole) {
			s.Failure = staticFailure{Attempts: 3, At: at(1061), RetryAt: at(1961), Connection: now}
		}, at(1961)},
		"the connection was mended": {func(s *staticRole) {
			s.Failure = staticFailure{Attempts: 3, At: at(1061), RetryAt: at(1961), Connection: "c.6"}
		}, at(1060)},
		"by hand, and not yet its time": {func(s *staticRole) {
			s.Failure = staticFailure{Attempts: 1, At: at(1010), RetryAt: at(1011), Connection: now}
		}, at(1060)},
	} {
		s := rotated
		c.change(&s)
		if got := s.due(now, within); !got.Equal(c.want) {
			t.Errorf("%s: due at %s, want %s", name, got, c.want)
		}
	}
}

// Without a target nothing is promised: no role is left behind.
func TestStaticRoleNeedsItsTarget(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	_, err := b.fake.Write(t.Context(), store.Write{Puts: []store.Entry{{Kind: store.KindMount, Key: mount, ID: mountID}}})
	if err != nil {
		t.Fatal(err)
	}
	b.must(engine.Write, "config/my-postgres", unverified("allowed_roles", "app"))
	body := map[string]any{"db_name": "my-postgres", "username": "app", "rotation_period": 60}
	b.refused(engine.Invalid, engine.Write, "static-roles/other", body, `"other" is not an allowed role`)
	b.refused(engine.Unreachable, engine.Write, "static-roles/app", body, "1 error occurred:\n\t* error verifying connection: ")
	b.refused(engine.NotFound, engine.List, "static-roles", nil)
	b.refused(engine.NotFound, engine.Read, "static-roles/app", nil)
	if r := b.must(engine.Delete, "static-roles/app", nil); r != nil {
		t.Errorf("the deletion says %+v", r)
	}
	for path, want := range map[string]bool{"static-roles/app": true, "static-creds/app": false, "rotate-role/app": false} {
		exists, known, err := b.Exists(t.Context(), &engine.Request{MountID: mountID, Path: path})
		if exists || known != want || err != nil {
			t.Errorf("%s: exists %t, known %t, %v", path, exists, known, err)
		}
	}
	if all, err := b.Rotations(t.Context(), time.Now().Add(time.Hour)); len(all) != 0 || err != nil {
		t.Errorf("rotations %v, %v", all, err)
	}
}
