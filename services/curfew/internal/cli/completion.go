package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
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

// below lists under a path of the API.
func (s *session) below(root string) func(context.Context, string) ([]string, error) {
	return func(ctx context.Context, dir string) ([]string, error) {
		client, err := s.client()
		if err != nil {
			return nil, err
		}
		neverWrap(client)
		secret, err := client.Logical().ListWithContext(ctx, strings.TrimSuffix(root+dir, "/"))
		if err != nil || secret == nil {
			return nil, err
		}
		keys, _ := secret.Data["keys"].([]any)
		var names []string
		for _, key := range keys {
			if name, ok := key.(string); ok {
				names = append(names, name)
			}
		}
		return names, nil
	}
}

// mounts are the mounts that the token may see, by path, each with its type;
// side is "secret" or "auth".
func (s *session) mounts(ctx context.Context, side string) (map[string]string, error) {
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	neverWrap(client)
	secret, err := client.Logical().ReadWithContext(ctx, "sys/internal/ui/mounts")
	if err != nil || secret == nil {
		return nil, err
	}
	found := map[string]string{}
	mounts, _ := secret.Data[side].(map[string]any)
	for path, about := range mounts {
		fields, _ := about.(map[string]any)
		found[path], _ = fields["type"].(string)
	}
	return found, nil
}

// mountPaths completes the path of a mount as a whole.
func (s *session) mountPaths(side string) func(context.Context, string) ([]string, error) {
	return func(ctx context.Context, dir string) ([]string, error) {
		mounts, err := s.mounts(ctx, side)
		var names []string
		for path := range mounts {
			if rest, ok := strings.CutPrefix(path, dir); ok {
				names = append(names, rest)
			}
		}
		slices.Sort(names)
		return names, err
	}
}

// databasePaths are what is below a mount of the engine, which cannot be listed.
var databasePaths = []string{
	"config/", "creds/", "reset/", "roles/", "rotate-role/", "rotate-root/", "static-creds/", "static-roles/",
}

// childPaths completes a path of the API.
func (s *session) childPaths(ctx context.Context, dir string) ([]string, error) {
	mounts, err := s.mounts(ctx, "secret")
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return slices.Sorted(maps.Keys(merge(mounts, "auth/", "sys/"))), nil
	}
	if mounts[dir] == "database" {
		return databasePaths, nil
	}
	list := dir
	for _, what := range []string{"creds/", "rotate-role/", "static-creds/", "reset/", "rotate-root/"} {
		if mount, ok := strings.CutSuffix(dir, what); ok && mounts[mount] == "database" {
			list = mount + namedIn[what] // what is read there is named elsewhere
		}
	}
	return s.below("")(ctx, list)
}

// namedIn is where the names are listed that a path of a database mount takes.
var namedIn = map[string]string{
	"creds/": "roles/", "static-creds/": "static-roles/", "rotate-role/": "static-roles/",
	"reset/": "config/", "rotate-root/": "config/",
}

func merge(mounts map[string]string, more ...string) map[string]string {
	all := maps.Clone(mounts)
	if all == nil {
		all = map[string]string{}
	}
	for _, path := range more {
		all[path] = ""
	}
	return all
}

// autocomplete gives the program the stock flags that set completion up.
func (s *session) autocomplete(root *cobra.Command) {
	var install, uninstall bool
	root.Flags().BoolVar(&install, "autocomplete-install", false, "set completion up for bash, zsh and fish")
	root.Flags().BoolVar(&uninstall, "autocomplete-uninstall", false, "take that away again")
	otherwise := root.RunE
	root.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case install && uninstall:
			return usage(cmd, "Either -autocomplete-install or -autocomplete-uninstall")
		case len(args) == 0 && (install || uninstall):
			return s.installCompletion(root, install)
		}
		return otherwise(cmd, args)
	}
}

// mark is on each line that an installation adds to a shell's own file.
const mark = "# curfew completion"

// profiles are the files that shells read, the first that exists of each shell.
var profiles = map[string][]string{"bash": {".bashrc", ".bash_profile"}, "zsh": {".zshrc"}}

// installCompletion adds completion to the shells that a person has files of, or
// takes it away again.
func (s *session) installCompletion(root *cobra.Command, install bool) error {
	home := s.io.Getenv("HOME")
	if home == "" {
		return local(errors.New("HOME is not set"), "Error installing completion")
	}
	changed := 0
	for shell, files := range profiles {
		for _, file := range files {
			done, err := editProfile(filepath.Join(home, file), shell, install)
			if err != nil {
				return local(err, "Error installing completion")
			}
			if done {
				changed++
				break
			}
		}
	}
	if done, err := editFish(root, filepath.Join(home, ".config", "fish"), install); err != nil {
		return local(err, "Error installing completion")
	} else if done {
		changed++
	}
	if changed == 0 {
		return local(errors.New("no file of bash, zsh or fish was found in "+home), "Error installing completion")
	}
	return nil
}

// editProfile has one line of ours in a file, or none; false: there is no such
// file.
func editProfile(path, shell string, install bool) (bool, error) {
	path, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if !strings.HasSuffix(strings.TrimRight(line, "\n"), mark) {
			lines = append(lines, line)
		}
	}
	if install {
		if n := len(lines); n > 0 && !strings.HasSuffix(lines[n-1], "\n") {
			lines[n-1] += "\n"
		}
		lines = append(lines, fmt.Sprintf("command -v curfew >/dev/null && source <(curfew completion %s) %s\n", shell, mark))
	}
	return true, replaceFile(path, []byte(strings.Join(lines, "")), info.Mode().Perm())
}

// editFish has a file of ours where fish looks for completions, or none; false:
// fish is not in use.
func editFish(root *cobra.Command, config string, install bool) (bool, error) {
	if _, err := os.Stat(config); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	path := filepath.Join(config, "completions", "curfew.fish")
	if !install {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		return true, nil
	}
	script, err := completionScript(root, "fish")
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as fish makes it
		return false, err
	}
	return true, replaceFile(path, script, 0o644)
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, text []byte, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
