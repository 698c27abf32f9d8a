package sqltext

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// sameMeaning is the law of rendering: the rendered statement has the tokens of
// the source, each with the bare values in it. Bodies of code that hold
// variables are compared token by token as well.
func sameMeaning(t fataler, st Statement, v Vars, rendered string) {
	t.Helper()
	// Values may look like variables and must be taken as they are: the rendered
	// text is read with braces that mean nothing.
	out := unbrace(rendered)
	sameTokens(t, phraseOf(t, st.source).holdsCode(), v,
		&lexer{src: st.source, end: len(st.source)}, &lexer{src: out, end: len(out)})
}

func sameTokens(t fataler, code bool, v Vars, source, rendered *lexer) {
	t.Helper()
	for {
		a, more := nextToken(t, source)
		b, still := nextToken(t, rendered)
		if !more && !still {
			return
		}
		if a.kind != b.kind || more != still {
			t.Fatalf("tokens change in kind: %q of %q became %q of %q",
				source.src[a.start:a.end], source.src, rendered.src[b.start:b.end], rendered.src)
		}
		if code && a.kind == tokDollar && strings.Contains(source.src[a.bodyStart:a.bodyEnd], "{{") {
			if a.delim(source.src) != b.delim(rendered.src) {
				t.Fatalf("a dollar quote changes its tag in %q", rendered.src)
			}
			sameTokens(t, code, v, inner(source, a), inner(rendered, b))
			continue
		}
		want, got := unbrace(undo(t, source.src, a, v)), undo(t, rendered.src, b, Vars{})
		if got != want {
			t.Fatalf("%q of %q means %q, not %q", rendered.src[b.start:b.end], rendered.src, got, want)
		}
	}
}

func inner(l *lexer, t token) *lexer {
	return &lexer{src: l.src, pos: t.bodyStart, end: t.bodyEnd, code: true}
}

// nextToken returns the next token that is no comment.
func nextToken(t fataler, l *lexer) (token, bool) {
	t.Helper()
	for {
		tok, more, err := l.next()
		if err != nil {
			t.Fatalf("lex %q: %v", l.src, err)
		}
		if tok.kind != tokComment {
			return tok, more
		}
	}
}

// undo replaces each variable of a token by its bare value, and undoes the
// quoting of the rest.
func undo(t fataler, src string, tok token, v Vars) string {
	quotes := map[tokenKind]*strings.Replacer{
		tokIdent:   strings.NewReplacer(`""`, `"`),
		tokLiteral: strings.NewReplacer(`''`, `'`),
		tokEscape:  strings.NewReplacer(`''`, `'`, `\\`, `\`, `\'`, `'`, `\n`, "\n"),
	}
	refs := tok.refs
	if tok.kind == tokDollar {
		var err error
		if refs, err = readRefs(src, tok.bodyStart, tok.bodyEnd, false); err != nil {
			t.Fatalf("read variables of %q: %v", src, err)
		}
	}
	var b strings.Builder
	cursor := tok.bodyStart
	for _, r := range append(slices.Clone(refs), ref{start: tok.bodyEnd}) {
		part := src[cursor:r.start]
		if quotes, quoted := quotes[tok.kind]; quoted {
			part = quotes.Replace(part)
		}
		b.WriteString(part)
		switch r.variable {
		case Name:
			b.WriteString(v.Name)
		case Password:
			b.WriteString(v.Password)
		case Expiration:
			b.WriteString(v.Expiration)
		}
		cursor = r.end
	}
	return b.String()
}

func unbrace(s string) string { return strings.ReplaceAll(s, "{", "<") }

func phraseOf(t fataler, src string) phrase {
	t.Helper()
	l := lexer{src: src, end: len(src)}
	p := phrase{src: src}
	for {
		tok, more := nextToken(t, &l)
		if !more {
			return p
		}
		p.toks = append(p.toks, tok)
	}
}

// hostile makes values of the pieces that end quotes, and of anything.
func hostile() *rapid.Generator[string] {
	nasty := rapid.SampledFrom([]string{
		"'", "''", `"`, `""`, `\`, `\'`, "$", "$$", "$t$", "t$", "$t", "t", "--", "/*", "*/", ";", "\n", " ", "{{name}}", "{{", "}}", "E'", "U&", "x", "0", "ü",
	})
	return rapid.OneOf(
		rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(nasty, 1, 12).Draw(t, "parts"), "") }),
		rapid.String(),
		rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOf(rapid.ByteRange(1, 255)).Draw(t, "bytes")) }),
	)
}

// quotedText makes quotes of every kind around variables and text that is
// already escaped for them.
func quotedText() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		quotes := rapid.SampledFrom([]struct {
			open, shut string
			text       []string
		}{
			{`"`, `"`, []string{"a", `""`, "'", `\`, "$t$", "--", ";", " "}},
			{"'", "'", []string{"a", "''", `"`, `\`, "$t$", "--", ";", " "}},
			{"N'", "'", []string{"a", "''"}},
			{"E'", "'", []string{"a", "''", `\'`, `\\`, `\n`, `"`, "$t$", ";"}},
			{"$$", "$$", []string{"a", "'", `"`, `\`, "$t", ";"}},
			{"$t$", "$t$", []string{"a", "'", "$", "t", ";"}},
		}).Draw(t, "quotes")
		variable := rapid.SampledFrom([]string{"{{name}}", "{{ username }}", "{{password}}", "{{\texpiration }}"})
		parts := rapid.SliceOfN(rapid.OneOf(variable, rapid.SampledFrom(quotes.text)), 1, 6).Draw(t, "parts")
		return quotes.open + strings.Join(parts, "") + quotes.shut
	})
}

func statement() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		filler := rapid.SampledFrom([]string{", x +", ", /* ' */", ", -- {{foo}}\n", ", U&'\\0041',", "/**/,", ", 1.5 ::", ", $q$;'$q$,"})
		var b strings.Builder
		for _, q := range rapid.SliceOfN(quotedText(), 1, 4).Draw(t, "quoted") {
			b.WriteString(" x " + q + " " + filler.Draw(t, "filler"))
		}
		if rapid.Bool().Draw(t, "code") {
			return "DO $code$ BEGIN PERFORM " + b.String() + " x; END $code$"
		}
		return "SELECT '{{name}}', " + b.String() + " x"
	})
}

// For any values: a statement is refused, or its tokens are those of the source
// with exactly the values in them (B4).
func TestValuesNeverLeaveTheirQuotes(t *testing.T) {
	t.Parallel()
	parsed, rendered := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s, err := Parse(Creation, `CREATE ROLE "{{name}}"`, statement().Draw(t, "statement"))
		var refused *Error
		if errors.As(err, &refused) {
			return
		}
		parsed++
		v := Vars{hostile().Draw(t, "name"), hostile().Draw(t, "password"), hostile().Draw(t, "expiration")}
		st := s.Statements()[1]
		out, err := st.Render(v)
		if errors.As(err, &refused) {
			return
		}
		rendered++
		sameMeaning(t, st, v, out)
	})
	if parsed == 0 || rendered == 0 {
		t.Errorf("%d statements parsed, %d rendered: the law was not tried", parsed, rendered)
	}
}

// The values that Curfew makes are never refused: no lease fails for its name.
func TestPlainValuesAreAlwaysRendered(t *testing.T) {
	t.Parallel()
	v := Vars{Name: "v-a-b-c-1", Password: "A1a-b", Expiration: "2026-11-22 01:00:00+00"}
	rendered := 0
	rapid.Check(t, func(t *rapid.T) {
		s, err := Parse(Creation, `CREATE ROLE "{{name}}"`, statement().Draw(t, "statement"))
		var refused *Error
		if errors.As(err, &refused) {
			return
		}
		st := s.Statements()[1]
		out, err := st.Render(v)
		if errors.As(err, &refused) && strings.Contains(refused.Reason, "longer than 63 bytes") {
			return
		}
		if err != nil {
			t.Fatalf("%q is refused: %v", st.source, err)
		}
		rendered++
		sameMeaning(t, st, v, out)
	})
	if rendered == 0 {
		t.Error("nothing rendered: the law was not tried")
	}
}

// Reading a source again gives the same statement.
func stable(t fataler, s Script) {
	t.Helper()
	again, err := Parse(s.kind, strings.Join(s.Sources(), ";\n"))
	if err != nil {
		t.Fatalf("sources %q are refused: %v", s.Sources(), err)
	}
	if !slices.Equal(again.Sources(), s.Sources()) {
		t.Fatalf("sources change\nfrom %q\n  to %q", s.Sources(), again.Sources())
	}
	for i, st := range s.statements {
		if again.statements[i].class != st.class || again.statements[i].misplaced != st.misplaced || !slices.Equal(again.statements[i].pieces, st.pieces) {
			t.Fatalf("statement %q is read as %+v, then as %+v", st.source, st, again.statements[i])
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, sql := range []string{
		`CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`,
		`REVOKE ALL PRIVILEGES ON ALL TABLES IN SCHEMA public FROM "{{name}}"; DROP ROLE IF EXISTS "{{name}}";`,
		"DO $a$ BEGIN EXECUTE $b$ GRANT x TO \"{{name}}\" $b$; PERFORM E'\\'{{name}}'; END $a$ -- x\n; SELECT U&'\\0041' /* /* */ */",
		`ROLLBACK; BEGIN; SAVEPOINT s;`, `SELECT 'a' 'b', $$ {{name}} $$, 1.5e3, (a[1]), $1`, `SET LOCAL x = 'y'; RESET ALL`,
	} {
		for kind := Creation; kind <= Shared; kind++ {
			f.Add(uint8(kind), sql, "v-root-readonly-x-1")
		}
	}
	f.Add(uint8(Revocation), `SELECT $t$ {{name}} $t$, E'{{name}}'`, `$t$ '"\`)
	f.Fuzz(func(t *testing.T, kind uint8, sql, value string) {
		s, err := Parse(Kind(kind), sql)
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || s.Len() != 0 {
				t.Fatalf("%q: %v", sql, err)
			}
			return
		}
		stable(t, s)
		if s.kind == Creation {
			sharedOnce(t, s)
		}
		v := Vars{value, value, value}
		for _, st := range s.statements {
			out, err := st.Render(v)
			if err != nil {
				var e *Error
				if !errors.As(err, &e) || e.Statement != st.number {
					t.Fatalf("%q: %v", st.source, err)
				}
				continue
			}
			sameMeaning(t, st, v, out)
		}
	})
}
