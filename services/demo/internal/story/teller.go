package story

import (
	"fmt"
	"io"
	"strings"

	"github.com/curfew-project/curfew/shared/secret"
)

// teller writes the story down.
type teller struct {
	out    io.Writer
	hidden []secret.Value
	failed error // first failure to write
}

func (t *teller) line(text string) {
	for _, s := range t.hidden {
		text = strings.ReplaceAll(text, s.Reveal(), "(not shown here)")
	}
	if _, err := io.WriteString(t.out, text+"\n"); err != nil && t.failed == nil {
		t.failed = fmt.Errorf("write the story: %w", err)
	}
}

func (t *teller) heading(n, of int, title string) {
	t.line("")
	t.line(fmt.Sprintf("== %d/%d  %s", n, of, title))
	t.line("")
}

// say writes sentences.
func (t *teller) say(lines ...string) {
	for _, text := range lines {
		t.line(text)
	}
}

// quote writes what a program or a person wrote, if anything.
func (t *teller) quote(text string) {
	for line := range strings.Lines(strings.TrimRight(text, "\n")) {
		t.line(strings.TrimRight("    "+strings.TrimSuffix(line, "\n"), " "))
	}
}

// hide keeps a secret out of everything that follows.
func (t *teller) hide(s secret.Value) {
	if !s.Empty() {
		t.hidden = append(t.hidden, s)
	}
}

// commandLine is a command as one would type it: a long one with each K=V on a
// line of its own.
func commandLine(args []string) string {
	const width = 76
	short, long := "$ curfew", "$ curfew"
	for _, arg := range args {
		word := shellQuote(arg)
		short += " " + word
		if strings.Contains(arg, "=") && !strings.HasPrefix(arg, "-") {
			long += " \\\n     "
		}
		long += " " + word
	}
	if len(short) <= width {
		return short
	}
	return long
}

// shellQuote quotes a word for a shell where it must be.
func shellQuote(word string) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./=@:,+%"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	name, value, found := strings.Cut(word, "=")
	if !found {
		name, value = "", word
	} else {
		name += "="
	}
	return name + "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
