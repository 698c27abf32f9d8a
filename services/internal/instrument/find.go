package instrument

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// Point is one outbound call in the source.
type Point struct {
	// Name is unique and says where the call is and what it asks for:
	// "issuer/internal/issuing.(*Issuing).confirm store.Apply".
	Name string
	// Package is the path below the module root: "issuer/internal/issuing".
	Package string
	// Lossy is whether the call returns an error, so that its answer can be lost.
	Lossy bool
	file  string
	from  int // offsets of what is called
	to    int
}

// root is what the paths of all modules begin with.
const root = "github.com/curfew-project/curfew/"

// contracts are the packages whose interfaces are what roles call.
func contracts() []string {
	return []string{root + "shared/store", root + "shared/bus", root + "shared/expiry", root + "shared/engine"}
}

// roles are the packages that call: issuer, revoker with its indexer, auditor,
// publisher, and what works for them on a target or the installation.
func roles() []string {
	return []string{
		root + "issuer/...", root + "revoker/...", root + "auditor/...", root + "shared/publish",
		root + "shared/engine/database", root + "shared/engine/database/internal/postgres", root + "shared/installation",
	}
}

// concrete are outbound calls that go through no interface of a contract, by
// package, receiver ("" for a function, or any where the package is foreign) and
// name: messages to a target, and what the auditor makes durable.
func concrete(f *types.Func) (noun string, ok bool) {
	pkg := strings.TrimPrefix(f.Pkg().Path(), root)
	switch key := pkg + " " + receiver(f) + " " + f.Name(); key {
	case "shared/engine/database/internal/postgres link run",
		"shared/engine/database/internal/postgres link query",
		"shared/engine/database/internal/postgres link queries",
		"shared/engine/database/internal/postgres link transact":
		return "target", true
	case "github.com/jackc/pgx/v5/pgconn  ConnectConfig":
		return "target", true
	case "shared/store  Change":
		return "store", true
	case "auditor/internal/appender Ledger Append", "auditor/internal/appender Ledger Next",
		"auditor/internal/recovery Ledger Append", "auditor/internal/recovery Ledger Next":
		return "ledger", true
	case "auditor/internal/catalog Catalog add", "auditor/internal/catalog Catalog anew":
		return "catalogue", true
	case "auditor/internal/sink outlet Sync":
		return "device", true
	}
	return "", false
}

// receiver is the name of the type that f is a method of, "" for a function.
func receiver(f *types.Func) string {
	recv := f.Signature().Recv()
	if recv == nil {
		return ""
	}
	t := types.Unalias(recv.Type())
	if p, ok := t.(*types.Pointer); ok {
		t = types.Unalias(p.Elem())
	}
	if n, ok := t.(*types.Named); ok {
		return n.Obj().Name()
	}
	return ""
}

// finder finds the outbound calls of packages.
type finder struct {
	fset *token.FileSet
	// asked are the methods of the contracts' interfaces by their names.
	asked map[string][]*types.Func
}

// learn adds the interfaces of a contract.
func (f *finder) learn(pkg *types.Package) {
	for _, name := range pkg.Scope().Names() {
		t, ok := pkg.Scope().Lookup(name).Type().Underlying().(*types.Interface)
		if !ok || !pkg.Scope().Lookup(name).Exported() {
			continue
		}
		for m := range t.ExplicitMethods() {
			f.asked[m.Name()] = append(f.asked[m.Name()], m)
		}
	}
}

// outbound reports whether a call of fn leaves the process, and what it asks.
func (f *finder) outbound(fn *types.Func) (noun string, ok bool) {
	if fn.Pkg() == nil {
		return "", false
	}
	if noun, ok := concrete(fn); ok {
		return noun, true
	}
	recv := fn.Signature().Recv()
	if recv == nil || !types.IsInterface(recv.Type()) || !contextual(fn) {
		return "", false
	}
	for _, m := range f.asked[fn.Name()] {
		if types.Identical(unbound(m), unbound(fn)) {
			path := m.Pkg().Path()
			return path[strings.LastIndexByte(path, '/')+1:], true
		}
	}
	return "", false
}

// contextual reports whether a function may wait for somebody else: it takes a
// context first.
func contextual(fn *types.Func) bool {
	params := fn.Signature().Params()
	return params.Len() > 0 && types.TypeString(params.At(0).Type(), nil) == "context.Context"
}

// unbound is a signature without its receiver.
func unbound(f *types.Func) *types.Signature {
	s := f.Signature()
	return types.NewSignatureType(nil, nil, nil, s.Params(), s.Results(), s.Variadic())
}

// points are the outbound calls in a file, in order.
func (f *finder) points(pkg string, file *ast.File, info *types.Info) (found []Point) {
	for _, decl := range file.Decls {
		fd, ok := decl.(*ast.FuncDecl)
		if !ok || fd.Body == nil {
			continue
		}
		where := pkg + "." + fd.Name.Name
		if recv := declared(fd); recv != "" {
			if recv == "link" {
				continue // it is the way to the target: who uses it has the points
			}
			where = pkg + "." + recv + "." + fd.Name.Name
		}
		ast.Inspect(fd.Body, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fn := callee(call, info)
			if fn == nil {
				return true
			}
			if noun, ok := f.outbound(fn); ok {
				from, to := f.fset.Position(call.Fun.Pos()), f.fset.Position(call.Fun.End())
				found = append(found, Point{
					Name: fmt.Sprintf("%s %s.%s", where, noun, fn.Name()), Package: pkg, Lossy: lossy(fn),
					file: from.Filename, from: from.Offset, to: to.Offset,
				})
			}
			return true
		})
	}
	return found
}

func declared(fd *ast.FuncDecl) string {
	if fd.Recv == nil {
		return ""
	}
	t := fd.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// callee is the function or method that a call names, nil for other values.
func callee(call *ast.CallExpr, info *types.Info) *types.Func {
	var id *ast.Ident
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		id = fun
	case *ast.SelectorExpr:
		id = fun.Sel
	default:
		return nil
	}
	fn, _ := info.Uses[id].(*types.Func)
	return fn
}

// lossy reports whether what fn returns can say that it failed.
func lossy(fn *types.Func) bool {
	for v := range fn.Signature().Results().Variables() {
		if fails(v.Type()) {
			return true
		}
	}
	return false
}

// fails: an error, or a list of what has one.
func fails(t types.Type) bool {
	if types.TypeString(t, nil) == "error" {
		return true
	}
	list, ok := t.Underlying().(*types.Slice)
	if !ok {
		return false
	}
	if types.TypeString(list.Elem(), nil) == "error" {
		return true
	}
	each, ok := list.Elem().Underlying().(*types.Struct)
	if !ok {
		return false
	}
	for field := range each.Fields() {
		if field.Name() == "Err" {
			return true
		}
	}
	return false
}

// number makes the names of a list unique: the second call of one kind in a
// function is #2.
func number(points []Point) {
	seen := map[string]int{}
	for i := range points {
		name := points[i].Name
		seen[name]++
		if n := seen[name]; n > 1 {
			points[i].Name = fmt.Sprintf("%s #%d", name, n)
		}
	}
	slices.SortFunc(points, func(a, b Point) int { return strings.Compare(a.Name, b.Name) })
}
