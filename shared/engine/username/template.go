package username

import (
	"errors"
	"fmt"
	"strings"
	"text/template/parse"
	"time"
)

const (
	// MaxTemplated is the length in bytes of the longest name that a template
	// may give: at more PostgreSQL cuts identifiers off without an error.
	MaxTemplated = 63
	// MarkLen is the length in bytes of what {{.Mark}} stands for.
	MarkLen = markLen + stampLen

	// MaxTemplate bounds the text of a template.
	MaxTemplate = 4096
)

// Template is a username template that was proved to give every lease a name
// of its own that [Namer.Recognise] recognises, whatever the display name and
// the role. Make one with [ParseTemplate].
type Template struct{ name value }

// ParseTemplate reads a template in the language of stock servers: text and
// pipelines of their functions (random, truncate, truncate_sha256, uppercase,
// lowercase, replace, sha256, base64, timestamp, unix_time, unix_time_millis,
// uuid, printf) over .DisplayName, .RoleName and, which is Curfew's own,
// .Mark. Its errors are for the person who wrote it.
//
// It refuses what it cannot prove: a template in which the mark is missing,
// stands twice, or may be cut or changed; one whose names may be longer than
// [MaxTemplated]; and characters that would need escaping somewhere. For that
// reason conditions, loops and variables are refused as a whole.
func ParseTemplate(text string) (*Template, error) {
	if len(text) > MaxTemplate {
		return nil, fmt.Errorf("it has %d bytes, at most %d are possible", len(text), MaxTemplate)
	}
	trees, err := parse.Parse("username_template", text, "", "", functionNames())
	if err != nil {
		return nil, fmt.Errorf("unable to parse template: %w", err)
	}
	tree := trees["username_template"]
	if tree == nil || len(trees) > 1 {
		return nil, errors.New("templates inside of it are not supported")
	}
	var parts []value
	for _, node := range tree.Root.Nodes {
		part, err := compileNode(node)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	name := joined(parts)
	switch {
	case name.marks == 0:
		return nil, fmt.Errorf("it has no {{.Mark}}: Curfew's accounts bear %d characters that lead back to their lease, "+
			"so that no account is ever left behind. Write {{.Mark}} where a random part stands, as in "+
			"v-{{.DisplayName | truncate 8}}-{{.RoleName | truncate 8}}-{{.Mark}}", MarkLen)
	case name.marks > 1:
		return nil, errors.New("it has {{.Mark}} more than once")
	case name.max >= unbounded:
		return nil, fmt.Errorf("its names may have any length, %d bytes are possible: shorten the parts, as in {{.DisplayName | truncate 8}}", MaxTemplated)
	case name.max > MaxTemplated:
		return nil, fmt.Errorf("its names may have %d bytes, %d are possible, of which {{.Mark}} takes %d: "+
			"shorten the other parts, as in {{.DisplayName | truncate 8}}", name.max, MaxTemplated, MarkLen)
	}
	return &Template{name}, nil
}

// Templated returns the account name of a lease by a template. Where the
// template asks for something random it is another one each time; the mark is
// the same for the same arguments.
func (n *Namer) Templated(t *Template, display, role, leaseID string, at time.Time) string {
	rendered := t.name.eval(&inputs{display: mapped(display, maxInput), role: mapped(role, maxInput), at: at.UTC()})
	before, after, _ := strings.Cut(rendered, placeholder)
	if strings.HasPrefix(before, "pg_") {
		before = "pg-" + before[len("pg_"):] // the server keeps the prefix for itself
	}
	head := singleHyphens(before) + n.leaseHash(leaseID) + string(n.current)
	tail := n.stamp(at) + singleHyphens(after)
	return head + n.tag(templateDomain, n.keys[n.current], head, tail) + tail
}

// recogniseTemplated looks for a mark at every place where one can be.
func (n *Namer) recogniseTemplated(name string) (Mark, bool) {
	if len(name) > MaxTemplated {
		return Mark{}, false
	}
	run := 0 // characters before i, in a row, that a mark can have
	for i := range len(name) {
		if strings.IndexByte(alphabet, name[i]) < 0 {
			run = 0
			continue
		}
		if run++; run < MarkLen {
			continue
		}
		if m, ok := n.markAt(name, i+1-MarkLen); ok {
			return m, true
		}
	}
	return Mark{}, false
}

func (n *Namer) markAt(name string, at int) (Mark, bool) {
	hash, keyID := name[at:at+hashLen], name[at+hashLen]
	key, known := n.keys[keyID]
	if !known {
		return Mark{}, false
	}
	head := name[:at+hashLen+1]
	tag, tail := name[len(head):len(head)+tagLen], name[len(head)+tagLen:]
	if !equal(n.tag(templateDomain, key, head, tail), tag) {
		return Mark{}, false
	}
	return Mark{LeaseHash: hash, KeyID: keyID, CreatedAt: unstamp(tail[:stampLen])}, true
}

// stamp is the time of a name's making, to the second.
func (n *Namer) stamp(at time.Time) string {
	seconds := min(max(at.Unix(), 0), maxStamp)
	out := make([]byte, stampLen)
	for i := stampLen - 1; i >= 0; i-- {
		out[i] = alphabet[seconds%stampBase]
		seconds /= stampBase
	}
	return string(out)
}

func unstamp(s string) time.Time {
	seconds := int64(0)
	for i := range len(s) {
		seconds = seconds*stampBase + int64(strings.IndexByte(alphabet, s[i]))
	}
	return time.Unix(seconds, 0).UTC()
}

const (
	stampBase = int64(len(alphabet))
	stampLen  = 7 // 35 bits: enough until the year 3058
	maxStamp  = 1<<35 - 1
)

// singleHyphens keeps the SQL comment out of names: truncating and joining
// parts can put two hyphens in a row.
func singleHyphens(s string) string {
	for strings.Contains(s, "--") {
		s = strings.ReplaceAll(s, "--", "-")
	}
	return s
}
