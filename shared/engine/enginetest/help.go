package enginetest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/curfew-project/curfew/shared/engine"
)

// Reporter is what [CheckHelp] needs of a test; *[testing.T] has it.
type Reporter interface {
	Helper()
	Errorf(format string, args ...any)
}

// CheckHelp states the law of [engine.Helper]: every path that is served is
// explained, and nothing else is. serves reports whether the path is there for
// any operation. Candidates for paths are made of every word that the Go
// sources in dir hold, so that a new path is found without being told of; name
// is an element that stands for any name.
func CheckHelp(t Reporter, h engine.Helper, dir, name string, serves func(path string) bool) {
	t.Helper()
	all := h.Help()
	if len(all) == 0 || all[0].Path != "" {
		t.Errorf("the mount itself is not explained first")
		return
	}
	seen := map[string]bool{}
	for _, one := range all {
		if one.Synopsis == "" || !strings.HasSuffix(one.Synopsis, ".") || seen[one.Path] {
			t.Errorf("help of %q: there twice, or its synopsis %q is no sentence", one.Path, one.Synopsis)
		}
		seen[one.Path] = true
		if path := filled(one.Path, name); path != "" && !serves(path) {
			t.Errorf("help of %q: %s is not served", one.Path, path)
		}
	}
	words, err := words(dir)
	if err != nil {
		t.Errorf("%v", err)
		return
	}
	found := 0
	for _, path := range candidates(words, name) {
		if !serves(path) {
			continue
		}
		found++
		if _, ok := engine.FindHelp(all, path); !ok {
			t.Errorf("%s is served and not explained", path)
		}
	}
	if found < len(all)-1 {
		t.Errorf("%d paths were found, %d are explained: the candidates miss some", found, len(all)-1)
	}
}

// filled is a path of the pattern.
func filled(pattern, name string) string {
	elements := strings.Split(pattern, "/")
	for i, e := range elements {
		if strings.HasPrefix(e, "<") || e == "…" {
			elements[i] = name
		}
	}
	return strings.Join(elements, "/")
}

// candidates are paths of up to three elements, or of what is one word with
// slashes in it.
func candidates(words []string, name string) []string {
	out := slices.Clone(words)
	for _, w := range words {
		out = append(out, w+"/"+name)
		for _, v := range words {
			out = append(out, w+"/"+name+"/"+v)
		}
	}
	return out
}

// words are the texts in the sources of dir, tests aside, that can be part of a
// path.
func words(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("list sources: %w", err)
	}
	found := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || filepath.Base(file) == "help.go" { // help must not vouch for itself
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read sources: %w", err)
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse sources: %w", err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if word, err := strconv.Unquote(lit.Value); err == nil {
					word = strings.Trim(word, "/")
					found[word] = word != "" && strings.Trim(word, "abcdefghijklmnopqrstuvwxyz-/_") == ""
				}
			}
			return true
		})
	}
	var out []string
	for word, ok := range found {
		if ok {
			out = append(out, word)
		}
	}
	slices.Sort(out)
	return out, nil
}
