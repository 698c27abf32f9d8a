package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeWithin bounds what a person waits for at a press of the tab key.
const completeWithin = 2 * time.Second

// completionCommand prints a shell's part of completion. The other part is the
// hidden command of cobra's that the shell calls: see [session.complete].
func (s *session) completionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what bash, zsh or fish needs to complete command lines",
		Example: `  source <(curfew completion bash)
  curfew completion fish > ~/.config/fish/completions/curfew.fish
  curfew -autocomplete-install`,
		ValidArgs: shells,
		Args:      arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			script, err := completionScript(cmd.Root(), args[0])
			if err != nil {
				return usage(cmd, "%s", err)
			}
			_, err = s.out.Write(script)
			return err
		},
	}
}

var shells = []string{"bash", "zsh", "fish"}

func completionScript(root *cobra.Command, shell string) ([]byte, error) {
	var script bytes.Buffer
	var err error
	switch shell {
	case "bash":
		err = root.GenBashCompletionV2(&script, true)
	case "zsh":
		err = root.GenZshCompletion(&script)
	case "fish":
		err = root.GenFishCompletion(&script, true)
	default:
		err = fmt.Errorf("there is no completion for this shell, only for %s", strings.Join(shells, ", "))
	}
	return script.Bytes(), err
}

// isCompletion reports whether a shell asks how the command line goes on.
func isCompletion(args []string) bool {
	return len(args) > 1 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd)
}

// complete answers a shell, in the grammar that the person uses: flags have one
// dash where the word that is completed has one.
func (s *session) complete(ctx context.Context, root *cobra.Command, args []string) error {
	var answer bytes.Buffer
	root.SetOut(&answer)
	root.SetArgs(append(args[:1:1], normalise(root, args[1:])...))
	if err := root.ExecuteContext(ctx); err != nil {
		return err
	}
	last := args[len(args)-1]
	single := strings.HasPrefix(last, "-") && !strings.HasPrefix(last, "--")
	for line := range bytes.Lines(answer.Bytes()) {
		if single && bytes.HasPrefix(line, []byte("--")) {
			line = line[1:]
		}
		if _, err := s.out.Write(line); err != nil {
			return err
		}
	}
	return nil
}

// completions tells the commands of a tree how their arguments go on.
func (s *session) completions(root *cobra.Command) {
	children := map[string]func(context.Context, string) ([]string, error){}
	for _, name := range []string{"read", "write", "list", "delete", "path-help"} {
		children[name] = s.childPaths
	}
	for _, name := range []string{"lookup", "renew", "revoke", "retry"} {
		children["lease "+name] = s.below("sys/leases/lookup/")
	}
	for _, name := range []string{"read", "delete"} {
		children["policy "+name] = s.below("sys/policies/acl/")
	}
	for _, name := range []string{"tune", "disable"} {
		children["secrets "+name] = s.mountPaths("secret")
		children["auth "+name] = s.mountPaths("auth")
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if below, ok := children[strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")]; ok {
			cmd.ValidArgsFunction = oneOf(below)
		}
		if cmd.Flags().Lookup("format") != nil {
			formats := cobra.FixedCompletions([]string{formatTable, formatJSON, formatYAML}, cobra.ShellCompDirectiveNoFileComp)
			if err := cmd.RegisterFlagCompletionFunc("format", formats); err != nil {
				panic(err) // the flag is there
			}
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
}

// oneOf completes the first argument, element by element; others are files. What
// a server does not answer is no reason to disturb a person who types.
func oneOf(children func(ctx context.Context, dir string) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		dir := word[:strings.LastIndexByte(word, '/')+1]
		names, err := children(ctx, dir)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		var all []string
		for _, name := range names {
			if strings.HasPrefix(dir+name, word) {
				all = append(all, dir+name)
			}
			if strings.HasSuffix(name, "/") {
				directive |= cobra.ShellCompDirectiveNoSpace
			}
		}
		return all, directive
	}
}
