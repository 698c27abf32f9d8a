package story

import (
	"errors"
	"strings"
	"testing"

	"github.com/curfew-project/curfew/shared/event"
	"github.com/curfew-project/curfew/shared/secret"
)

func TestCommandLineCanBeTyped(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"$ curfew secrets list":        {"secrets", "list"},
		"$ curfew write p a='b c'":     {"write", "p", "a=b c"},
		`$ curfew write p a='it'\''s'`: {"write", "p", "a=it's"},
		"$ curfew read ''":             {"read", ""},
		"$ curfew write p f=@file":     {"write", "p", "f=@file"},
	} {
		if got := commandLine(args); got != want {
			t.Errorf("%q is shown as\n%s, want\n%s", args, got, want)
		}
	}
	long := commandLine([]string{"write", "database/roles/x", "a=" + strings.Repeat("x", 40), "b=" + strings.Repeat("y", 40)})
	if lines := strings.Split(long, " \\\n      "); len(lines) != 3 || lines[0] != "$ curfew write database/roles/x" || lines[2][:2] != "b=" {
		t.Errorf("a long command is shown as\n%s", long)
	}
}

func TestHiddenSecretsAreNotTold(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	s := &teller{out: &out}
	s.hide(secret.New("pa55word"))
	s.hide(secret.Value{}) // hides nothing
	s.say("say pa55word")
	s.quote("quote pa55word\n\nend\n")
	if got, want := out.String(), "say (not shown here)\n    quote (not shown here)\n\n    end\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLife(t *testing.T) {
	t.Parallel()
	life := []event.Type{event.LeaseIntent, event.LeaseCreated, event.LeaseRevoking, event.LeaseRevoked}
	whole := func() []entry {
		return []entry{
			{1, event.LeaseIntent, 1, "a"},
			{2, event.LeaseCreated, 2, "a"},
			{5, event.LeaseRevoking, 3, "system:expiry"},
			{6, event.LeaseProgress, 4, "system:expiry"},
			{8, event.LeaseRevoked, 5, "system:expiry"},
		}
	}
	if err := checkLife(whole(), life, "system:expiry"); err != nil {
		t.Errorf("a whole life is refused: %v", err)
	}
	for name, breakIt := range map[string]func([]entry) []entry{
		"nothing":          func([]entry) []entry { return nil },
		"no end":           func(e []entry) []entry { return e[:4] },
		"no beginning":     func(e []entry) []entry { return e[1:] },
		"gap":              func(e []entry) []entry { return append(e[:1], e[2:]...) },
		"twice":            func(e []entry) []entry { return append(e, e[4]) },
		"by another actor": func(e []entry) []entry { e[2].Actor = "a"; return e },
		"another order":    func(e []entry) []entry { e[0].Type, e[1].Type = e[1].Type, e[0].Type; return e },
	} {
		if err := checkLife(breakIt(whole()), life, "system:expiry"); err == nil {
			t.Errorf("%s is taken for a whole life", name)
		}
	}
}

func TestSigned(t *testing.T) {
	t.Parallel()
	const report = "epoch 1: 22 entries signed, 7 not yet signed, root ab, fence 1\nthe ledger is what was signed\n"
	if err := signed(report, 22); err != nil {
		t.Error(err)
	}
	if err := signed(report, 23); !errors.Is(err, errNotYet) {
		t.Errorf("entry 23 of 22: %v", err)
	}
	if err := signed("something else", 1); err == nil || errors.Is(err, errNotYet) {
		t.Errorf("another report: %v", err)
	}
}
