package instrument

import (
	"slices"
	"strings"
	"testing"
)

// The list has what each role calls, under unique names; a call for another
// purpose is another point.
func TestPoints(t *testing.T) {
	t.Parallel()
	points, err := Points(t.Context(), ".")
	if err != nil {
		t.Fatal(err)
	}
	names := Names(points)
	if unique := slices.Compact(slices.Clone(names)); len(unique) != len(names) {
		t.Errorf("%d names of %d points", len(unique), len(names))
	}
	for _, want := range []string{
		"issuer/internal/issuing.issue.apply store.Apply",                             // through an interface of the issuer's
		"issuer/internal/issuing.issue.create engine.Create",                          // a target, from afar
		"issuer/internal/access.Book.change store.Change",                             // a function of a contract
		"revoker/internal/index.Indexer.Do bus.Fetch",                                 // the indexer
		"revoker/internal/claim.Claimer.launch expiry.Claim",                          // the index
		"revoker/internal/sweep.Barriers.one store.Write #2",                          // the second of its kind
		"auditor/internal/appender.Appender.append ledger.Append",                     // no contract: a file
		"shared/publish.Publisher.send bus.Publish",                                   // the publisher
		"shared/engine/database/internal/postgres.Target.disableOnce target.transact", // a stage at the target
		"shared/engine/database/internal/postgres.dialer.try target.ConnectConfig",    // a connection
	} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no point %q", want)
		}
	}
	for _, p := range points {
		if p.Name == "auditor/internal/recovery.Recovery.foldStream bus.Replay" && p.Lossy {
			t.Error("the answer of a call that returns no error can be lost")
		}
	}
}

// A rewritten file has its calls at points, and every line where it was.
func TestRewrite(t *testing.T) {
	t.Parallel()
	const source = "// A comment.\npackage a\n\nfunc f() error {\n\treturn s.Apply(ctx,\n\t\ts.Get(ctx))\n}\n"
	at := func(call string) Point {
		from := strings.Index(source, call)
		return Point{Name: "a.f " + call, from: from, to: from + len(call)}
	}
	got, err := wrapped([]byte(source), []Point{at("s.Apply"), at("s.Get")})
	if err != nil {
		t.Fatal(err)
	}
	want := "// A comment.\npackage a" + entry + "\n\nfunc f() error {\n\treturn " +
		alias + `.Wrap("a.f s.Apply", s.Apply)(ctx,` + "\n\t\t" + alias + `.Wrap("a.f s.Get", s.Get)(ctx))` + "\n}\n"
	if string(got) != want {
		t.Errorf("the file is\n%s\nwant\n%s", got, want)
	}
	if _, err := wrapped([]byte(source), []Point{at("s.Apply"), {Name: "b", from: at("s.Apply").from - 2, to: at("s.Apply").to}}); err == nil {
		t.Error("a call inside of what is called was rewritten")
	}
}

// The machine's clock is read through what can make it wrong; a package clock
// that reads it in another way is not taken for one without a clock.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	const source = "package clock\n\nfunc (System) Now() time.Time {\n\treturn time.Now() // here\n}\n"
	got, err := wrongClock([]byte(source))
	want := "package clock" + clockEntry + "\n\nfunc (System) Now() time.Time {\n\treturn " + clockAlias + ".Now(time.Now) // here\n}\n"
	if err != nil || string(got) != want {
		t.Errorf("the file is\n%s%v, want\n%s", got, err, want)
	}
	for _, other := range []string{"package clock\n", source + source} {
		if _, err := wrongClock([]byte(other)); err == nil {
			t.Errorf("rewrote %q", other)
		}
	}
}
