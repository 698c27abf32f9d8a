package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"pgregory.net/rapid"
)

// parsed is what a command got to see.
type parsed struct {
	ran, name, level string
	force, sync      bool
	args             []string
}

// testTree is a tree with every kind of flag; run fills got.
func testTree(got *parsed) *cobra.Command {
	root := &cobra.Command{Use: "curfew", SilenceErrors: true, SilenceUsage: true}
	secrets := &cobra.Command{Use: "secrets"}
	for _, parent := range []*cobra.Command{root, secrets} {
		leaf := &cobra.Command{Use: "enable", Args: cobra.ArbitraryArgs}
		flags := leaf.Flags()
		flags.StringVar(&got.name, "name", "", "")
		flags.StringVarP(&got.level, "level", "l", "", "")
		flags.BoolVarP(&got.force, "force", "f", false, "")
		flags.BoolVar(&got.sync, "sync", false, "")
		leaf.RunE = func(cmd *cobra.Command, args []string) error {
			got.ran, got.args = cmd.CommandPath(), slices.Clone(args)
			return nil
		}
		parent.AddCommand(leaf)
	}
	root.AddCommand(secrets)
	return root
}

func TestNormalise(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ in, want string }{
		"single dash":            {"enable -name=a x", "enable --name=a x"},
		"value in the next word": {"enable -name a x", "enable --name a x"},
		"double dash stays":      {"enable --name a x", "enable --name a x"},
		"one letter":             {"enable -f x", "enable --force x"},
		"one letter with value":  {"enable -l=3 -l 4", "enable --level=3 --level 4"},
		"after the arguments":    {"enable x -sync", "enable x --sync"},
		"in a group":             {"secrets enable -sync -name enable", "secrets enable --sync --name enable"},
		"dash alone":             {"enable -", "enable -"},
		"end of flags":           {"enable -- -name a -", "enable -- -name a -"},
		"value like a flag":      {"enable -name -sync -sync", "enable --name -sync --sync"},
		"value like the end":     {"enable -name -- -sync", "enable --name -- --sync"},
		"negative value":         {"enable -name -5 -level=-5", "enable --name -5 --level=-5"},
		"negative argument":      {"enable -5", "enable -5"},
		"value with equals":      {"enable -name=a=-b", "enable --name=a=-b"},
		"unknown flag":           {"enable -nosuch=1 -fx", "enable --nosuch=1 --fx"},
		"unknown takes no value": {"enable -nosuch -sync", "enable --nosuch --sync"},
		"help":                   {"enable -h", "enable --help"},
		"help in words":          {"-help", "--help"},
		"no flag at all":         {"enable ---name -=x", "enable ---name -=x"},
		"missing value":          {"enable -name", "enable --name"},
		"key and value":          {"enable a=-b c=--d", "enable a=-b c=--d"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := normalise(testTree(&parsed{}), strings.Fields(tc.in))
			if strings.Join(got, " ") != tc.want {
				t.Errorf("normalise(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

// Whatever the words are, none is lost, added, moved or changed but for the
// dashes before a flag and the spelling of a one-letter flag; and normalising
// twice changes nothing more.
func TestNormaliseKeepsOrderAndValues(t *testing.T) {
	t.Parallel()
	spelled := map[string]string{"f": "force", "l": "level", "h": "help"}
	same := func(before, after string) bool {
		if before == after {
			return true
		}
		flag, value, _ := strings.Cut(before, "=")
		flag = strings.TrimLeft(flag, "-")
		changed, kept, _ := strings.Cut(after, "=")
		changed, isFlag := strings.CutPrefix(changed, "--")
		return isFlag && value == kept && (changed == flag || changed == spelled[flag])
	}
	word := rapid.OneOf(
		rapid.SampledFrom([]string{"enable", "secrets", "-", "--", "-name", "--name", "-f", "-l", "-l=3", "-sync", "-h", "-5", ""}),
		rapid.StringMatching(`-{0,3}[a-z]{0,4}(=[-=a-z]{0,4})?`),
	)
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOf(word).Draw(t, "words")
		after := normalise(testTree(&parsed{}), before)
		if !slices.EqualFunc(before, after, same) {
			t.Fatalf("normalise(%q) = %q", before, after)
		}
		if again := normalise(testTree(&parsed{}), after); !slices.Equal(after, again) {
			t.Fatalf("normalise(%q) = %q", after, again)
		}
	})
}

// However a command line is written, the command sees the flags and arguments
// that were meant.
func TestNormaliseMeansWhatWasWritten(t *testing.T) {
	t.Parallel()
	value := rapid.OneOf(
		rapid.SampledFrom([]string{"", "-", "--", "-5", "-name", "--force", "enable", "a=b", "=", "-h"}),
		rapid.String(),
	)
	argument := rapid.OneOf(rapid.Just("-"), rapid.StringMatching(`[a-z0-9=/@][-a-z=]{0,6}`))
	rapid.Check(t, func(t *rapid.T) {
		want, got := parsed{ran: "curfew enable"}, parsed{}
		words := []string{"enable"}
		if rapid.Bool().Draw(t, "group") {
			want.ran, words = "curfew secrets enable", []string{"secrets", "enable"}
		}
		dash := rapid.SampledFrom([]string{"-", "--"})
		text := func(flag string, into *string) {
			*into = value.Draw(t, flag)
			if rapid.Bool().Draw(t, "joined") {
				words = append(words, dash.Draw(t, "dash")+flag+"="+*into)
			} else {
				words = append(words, dash.Draw(t, "dash")+flag, *into)
			}
		}
		for range rapid.IntRange(0, 8).Draw(t, "items") {
			switch rapid.IntRange(0, 4).Draw(t, "item") {
			case 0:
				text("name", &want.name)
			case 1:
				text(rapid.SampledFrom([]string{"level", "l"}).Draw(t, "spelling"), &want.level)
			case 2:
				want.force = true
				words = append(words, dash.Draw(t, "dash")+rapid.SampledFrom([]string{"force", "f"}).Draw(t, "spelling"))
			case 3:
				want.sync = rapid.Bool().Draw(t, "sync")
				words = append(words, dash.Draw(t, "dash")+"sync="+map[bool]string{true: "true", false: "false"}[want.sync])
			case 4:
				arg := argument.Draw(t, "argument")
				want.args, words = append(want.args, arg), append(words, arg)
			}
		}
		if rapid.Bool().Draw(t, "end of flags") {
			rest := rapid.SliceOf(value).Draw(t, "rest")
			want.args, words = append(want.args, rest...), append(append(words, "--"), rest...)
		}
		root := testTree(&got)
		root.SetArgs(normalise(root, words))
		if err := root.Execute(); err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		if got.ran != want.ran || got.name != want.name || got.level != want.level ||
			got.force != want.force || got.sync != want.sync || !slices.Equal(got.args, want.args) {
			t.Fatalf("%q: got %+v, want %+v", words, got, want)
		}
	})
}
