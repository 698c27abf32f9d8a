package database

import (
	"strings"
	"testing"
	"time"

	"github.com/curfew-project/curfew/shared/engine"
	"github.com/curfew-project/curfew/shared/lease"
	"github.com/curfew-project/curfew/shared/store"
)

// The texts are those of recordings 02 and 08; the status of all is 400.
func TestPlanRefused(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "config/my-postgres", unverified())
	b.must(engine.Write, "roles/outsider", roleOf("my-postgres"))
	b.must(engine.Write, "roles/nodb", roleOf("nope"))
	b.must(engine.Write, "roles/readonly", roleOf("my-postgres"))
	for role, want := range map[string]struct {
		kind engine.Kind
		text string
	}{
		"nosuch":   {engine.Invalid, "unknown role: nosuch"},
		"outsider": {engine.Invalid, "1 error occurred:\n\t* \"outsider\" is not an allowed role\n\n"},
		"nodb":     {engine.Invalid, "1 error occurred:\n\t* failed to find entry for connection with name: \"nope\"\n\n"},
		"readonly": {engine.Unreachable, "1 error occurred:\n\t* error verifying connection: failed to connect to `user=vault_admin database=postgres`: 127.0.0.1:1"},
	} {
		p, err := b.plan(role, "database/creds/"+lease.ID(role)+"/x")
		if p != nil {
			t.Errorf("%s: a plan", role)
		}
		wantError(t, "plan", role, err, want.kind, want.text)
		if want.kind == engine.Invalid && err.Error() != want.text {
			t.Errorf("%s: %q, want %q", role, err, want.text)
		}
	}
	for _, path := range []string{"roles/readonly", "creds", "creds/", "creds/a/b"} {
		p, err := b.Plan(t.Context(), &engine.Request{Operation: engine.Read, MountID: mountID, Path: path})
		if p != nil || err != nil {
			t.Errorf("%s: %v, %v; want no plan", path, p, err)
		}
	}
	_, err := b.Plan(t.Context(), &engine.Request{Operation: engine.Write, MountID: mountID, Path: "creds/readonly"})
	wantError(t, engine.Write, "creds/readonly", err, engine.UnsupportedOperation)
}

// A2: hidden at once, kept while a lease needs it.
func TestDeletedConnectionIsKeptForItsLeases(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	b.must(engine.Write, "config/a", unverified())
	s, err := b.connectionByName(ctx, mountID, "a")
	if err != nil {
		t.Fatal(err)
	}
	id := s.entry.ID
	l := begin(t, b, id)
	b.must(engine.Delete, "config/a", nil)
	b.refused(engine.NotFound, engine.Read, "config/a", nil)
	b.refused(engine.NotFound, engine.List, "config", nil)
	b.must(engine.Delete, "config/a", nil) // again is success
	if n, err := b.Tidy(ctx); n != 0 || err != nil {
		t.Fatalf("%d forgotten, %v, while a lease lives", n, err)
	}
	kept, err := b.connectionByID(ctx, id)
	if err != nil {
		t.Fatalf("the connection of a live lease is gone: %v", err)
	}
	if current, _, err := b.passwords(&kept.connection); err != nil || current.Reveal() != adminPassword {
		t.Fatalf("its credential cannot be read: %v", err)
	}
	if targets, err := b.Targets(ctx); err != nil || len(targets) != 1 || targets[0].ID != id || targets[0].Name != "a" || targets[0].Mount != mount {
		t.Errorf("targets %v, %v", targets, err)
	}

	// Made anew it is another one.
	b.must(engine.Write, "config/a", unverified())
	if again, err := b.connectionByName(ctx, mountID, "a"); err != nil || again.entry.ID == id {
		t.Errorf("the deleted connection came back: %v", err)
	}
	finish(t, b, l)
	if n, err := b.Tidy(ctx); n != 1 || err != nil {
		t.Fatalf("%d forgotten, %v, after the last lease", n, err)
	}
	_, err = b.connectionByID(ctx, id)
	wantError(t, "use", id, err, engine.NotFound)
}

func TestDeletedConnectionWithoutLeasesIsForgottenAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "config/a", unverified())
	b.must(engine.Delete, "config/a", nil)
	if targets, err := b.Targets(t.Context()); err != nil || len(targets) != 0 {
		t.Errorf("targets %v, %v", targets, err)
	}
}

func TestDisabledMountLeavesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	b.must(engine.Write, "config/a", unverified())
	b.must(engine.Write, "config/b", unverified())
	b.must(engine.Write, "roles/r", roleOf("a"))
	s, err := b.connectionByName(ctx, mountID, "b")
	if err != nil {
		t.Fatal(err)
	}
	begin(t, b, s.entry.ID)
	b.must(engine.Delete, "config/b", nil)
	other := &engine.Request{Operation: engine.Write, MountID: "mount-2", Mount: "db2/", Path: "config/a", Data: unverified()}
	if _, err := b.Handle(ctx, other); err != nil {
		t.Fatal(err)
	}
	if err := b.Disabled(ctx, mountID); err != nil {
		t.Fatal(err)
	}
	targets, err := b.Targets(ctx)
	if err != nil || len(targets) != 1 || targets[0].MountID != "mount-2" {
		t.Errorf("targets %v, %v; want that of the other mount", targets, err)
	}
	b.refused(engine.NotFound, engine.List, "roles", nil)
}

// begin commits the intent of a lease of a connection.
func begin(tb testing.TB, b *bench, target string) lease.Lease {
	tb.Helper()
	return apply(tb, b, lease.Change{
		ID: lease.NewID("database/creds/readonly"), Key: "k", Do: lease.Begin{
			Lease: lease.Lease{Kind: lease.Secret, MountID: mountID, Mount: mount, Target: target, Engine: Type},
			Grace: time.Minute,
		},
	})
}

func finish(tb testing.TB, b *bench, l lease.Lease) {
	tb.Helper()
	apply(tb, b, lease.Change{ID: l.ID, Version: lease.AnyVersion, Key: "r", Do: lease.Revoke{}})
	apply(tb, b, lease.Change{ID: l.ID, Version: lease.AnyVersion, Key: "f", Do: lease.Finish{To: lease.Revoked}})
}

func apply(tb testing.TB, b *bench, c lease.Change) lease.Lease {
	tb.Helper()
	out := b.fake.Apply(tb.Context(), store.Transition{Change: c})
	if out[0].Err != nil {
		tb.Fatal(out[0].Err)
	}
	return out[0].Lease
}

// B2: names are made under keys that every process of the installation shares
// and that the store does not show.
func TestNaming(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	other := b.another()
	ctx := t.Context()
	mine, err := b.namer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := other.namer(ctx)
	if err != nil {
		t.Fatal(err)
	}
	name := mine.Name("token-app", "readonly", "database/creds/readonly/x", time.Now())
	if _, ok := theirs.Recognise(name); !ok {
		t.Errorf("another process does not recognise %s", name)
	}
	if strange, err := newBench(t).namer(ctx); err != nil {
		t.Fatal(err)
	} else if _, ok := strange.Recognise(name); ok {
		t.Errorf("another installation takes %s for its own", name)
	}
	_, _, err = b.StrayPlan(ctx, "x", engine.Account{Name: "v-root-readonly-LhJZR3NG1OHXbQHqNGTV-1795304195"})
	wantError(t, "stray plan", "foreign", err, engine.Invalid)
}

// A ciphertext of one connection is none of another's.
func TestSealedSecretsAreBoundToTheirPlace(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.must(engine.Write, "config/a", unverified())
	b.must(engine.Write, "config/b", unverified())
	x, err := b.connectionByName(t.Context(), mountID, "a")
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.connectionByName(t.Context(), mountID, "b")
	if err != nil {
		t.Fatal(err)
	}
	x.Current = y.Current
	_, _, err = b.passwords(&x.connection)
	wantError(t, "open", "a", err, engine.Internal)
	y.ClientPEM = y.Current
	_, err = b.settings(&y.connection)
	wantError(t, "open", "b", err, engine.Internal)
}

// Nothing that people can read holds the password: entries, events, log,
// errors.
func TestSecretsAreSeenNowhere(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	ctx := t.Context()
	var texts []string
	note := func(r *engine.Response, err error) {
		if err != nil {
			texts = append(texts, err.Error())
			if cause := engine.AsError(err).Err; cause != nil {
				texts = append(texts, cause.Error())
			}
		}
		if r != nil {
			texts = append(texts, strings.Join(r.Warnings, " "))
		}
	}
	note(b.ask(engine.Write, "config/a", unverified()))
	note(b.ask(engine.Write, "config/a", unverified("verify_connection", "true")))
	note(b.ask(engine.Write, "config/b", unverified("connection_url", "postgres://u:"+adminPassword+"@127.0.0.1:1/db?sslmode=oops")))
	note(b.ask(engine.Write, "config/b", unverified("connection_url", "postgres://u:"+adminPassword+"/@127.0.0.1:1/db")))
	note(b.ask(engine.Write, "config/b", unverified("private_key", adminPassword, "tls_certificate", "x")))
	note(b.ask(engine.Write, "config/b", map[string]any{"password": []any{adminPassword}, "private_key": map[string]any{"a": adminPassword}}))
	note(b.ask(engine.Write, "roles/readonly", roleOf("a")))
	note(b.ask(engine.Write, "rotate-root/a", nil))
	note(b.ask(engine.Write, "reset/a", nil))
	_, err := b.plan("readonly", "database/creds/readonly/x")
	note(nil, err)
	if len(texts) < 6 {
		t.Fatalf("only %d texts: the test looks at too little", len(texts))
	}
	for _, kind := range []store.Kind{store.KindConnection, store.KindRole, store.KindSystem} {
		entries, err := b.fake.List(ctx, kind, "", "", false, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			texts = append(texts, string(e.Value))
		}
	}
	for _, e := range b.events() {
		texts = append(texts, strings.Join(e.Data.Fields, " "), e.Data.Reason, e.Data.Error, e.Subject)
	}
	texts = append(texts, b.logs.String())
	for _, text := range texts {
		if strings.Contains(text, adminPassword) {
			t.Errorf("the password is in %q", text)
		}
	}
}
