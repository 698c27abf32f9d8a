package instrument

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// listed is a package as `go list` knows it.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
}

// Points finds the outbound calls of all roles. dir is a folder of a module that
// can see them.
func Points(ctx context.Context, dir string) ([]Point, error) {
	packages, err := list(ctx, dir)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	fset := token.NewFileSet()
	compiled := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
		file := exports[path]
		if file == "" {
			return nil, fmt.Errorf("package %s was not compiled", path)
		}
		return os.Open(file) //nolint:gosec // the go command names it
	})
	f := &finder{fset: fset, asked: map[string][]*types.Func{}}
	for _, path := range contracts() {
		pkg, err := compiled.Import(path)
		if err != nil {
			return nil, fmt.Errorf("read contract: %w", err)
		}
		f.learn(pkg)
	}
	var points []Point
	for _, p := range packages {
		if p.DepOnly {
			continue
		}
		found, err := f.inPackage(p, compiled)
		if err != nil {
			return nil, err
		}
		points = append(points, found...)
	}
	if len(points) == 0 {
		return nil, errors.New("there are no outbound calls: the contracts have moved")
	}
	number(points)
	return points, nil
}

func (f *finder) inPackage(p listed, compiled types.Importer) ([]Point, error) {
	var files []*ast.File
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(f.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("parse: %w", err)
		}
		files = append(files, file)
	}
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	if _, err := (&types.Config{Importer: compiled}).Check(p.ImportPath, f.fset, files, info); err != nil {
		return nil, fmt.Errorf("check types: %w", err)
	}
	var points []Point
	for _, file := range files {
		points = append(points, f.points(strings.TrimPrefix(p.ImportPath, root), file, info)...)
	}
	return points, nil
}

// list asks the go command for the roles and all that they import, compiled.
func list(ctx context.Context, dir string) (all []listed, err error) {
	args := append([]string{"list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles,DepOnly"}, roles()...)
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // the words are ours
	cmd.Dir = dir
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w\n%s", err, complaint.String())
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("read packages: %w", err)
		}
		all = append(all, p)
	}
}

// Names are those of points.
func Names(points []Point) []string {
	names := make([]string, len(points))
	for i, p := range points {
		names[i] = p.Name
	}
	slices.Sort(names)
	return names
}
