package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

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
