package cli

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// normalise rewrites a command line in the stock CLI's grammar, where -flag and
// --flag are the same, into the one that cobra parses, where -flag is a row of
// one-letter flags. It changes nothing but the leading dashes of flags (and
// spells a one-letter flag out): the number, order and values of the words
// stay. It needs the tree to tell a flag from a flag's value: the word after
// "-increment" is its value whatever it looks like, the word after "-sync" is
// not.
//
//   - "-" alone is an argument (standard input).
//   - Everything from "--" on stays as it is.
//   - An unknown flag is rewritten too, so that cobra names it whole.
//   - A word like "-5" that is no flag's value is left alone.
func normalise(root *cobra.Command, args []string) []string {
	out := make([]string, 0, len(args))
	cmd, descending := root, true
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" {
			return append(out, args[i:]...)
		}
		if len(word) < 2 || word[0] != '-' {
			if descending {
				if sub := child(cmd, word); sub != nil {
					cmd = sub
				} else {
					descending = false
				}
			}
			out = append(out, word)
			continue
		}
		flag, wantsValue := canonical(cmd, word)
		out = append(out, flag)
		if wantsValue && i+1 < len(args) {
			i++
			out = append(out, args[i])
		}
	}
	return out
}

// canonical is the double-dash form of one flag word of cmd, and whether the
// next word is the flag's value.
func canonical(cmd *cobra.Command, word string) (flag string, wantsValue bool) {
	rest := strings.TrimPrefix(word[1:], "-")
	name, value, hasValue := strings.Cut(rest, "=")
	if name == "" || name[0] == '-' {
		return word, false // not a flag in either grammar: cobra refuses it
	}
	if name == "h" || name == "help" {
		// cobra adds its help flags only when it parses.
		name = "help"
	}
	if known := lookup(cmd, name); known != nil {
		name, wantsValue = known.Name, !hasValue && known.NoOptDefVal == ""
	} else if isDigit(name[0]) {
		return word, false
	}
	if hasValue {
		return "--" + name + "=" + value, false
	}
	return "--" + name, wantsValue
}

func lookup(cmd *cobra.Command, name string) *pflag.Flag {
	if flag := cmd.Flag(name); flag != nil {
		return flag
	}
	if len(name) == 1 {
		return cmd.Flags().ShorthandLookup(name)
	}
	return nil
}

func child(cmd *cobra.Command, name string) *cobra.Command {
	for _, sub := range cmd.Commands() {
		if sub.Name() == name || sub.HasAlias(name) {
			return sub
		}
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
