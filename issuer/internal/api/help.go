package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/access"
	"github.com/curfew-project/curfew/issuer/internal/audit"
	"github.com/curfew-project/curfew/issuer/internal/auth"
	"github.com/curfew-project/curfew/issuer/internal/fault"
	"github.com/curfew-project/curfew/issuer/internal/inspect"
	"github.com/curfew-project/curfew/issuer/internal/leases"
	"github.com/curfew-project/curfew/issuer/internal/mounts"
	"github.com/curfew-project/curfew/issuer/internal/operator"
	"github.com/curfew-project/curfew/issuer/internal/passwords"
	"github.com/curfew-project/curfew/issuer/internal/quota"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/status"
	"github.com/curfew-project/curfew/issuer/internal/tokens"
	"github.com/curfew-project/curfew/issuer/internal/wire"
	"github.com/curfew-project/curfew/issuer/internal/wrapping"
	"github.com/curfew-project/curfew/shared/engine"
)

// helps explain the server's own paths. Their texts stand beside what serves
// them; a path has the pattern that it has in the table, its tail behind it.
func helps() []engine.Help {
	return slices.Concat(
		[]engine.Help{{Path: "sys", Synopsis: "The server itself: mounts, policies, leases and its state."}},
		status.Help(), mounts.Help(), auth.Help(), access.Help(), wrapping.Help(), quota.Help(), operator.Help(), inspect.Help(),
		leases.Help(), tokens.Help(), passwords.Help(), audit.Help(),
	)
}

// explained is what the answer to a request for help holds.
type explained struct {
	Help    string   `json:"help"`
	SeeAlso []string `json:"see_also"` // null: other paths are named in the text
	OpenAPI any      `json:"openapi"`  // null: none is made
}

// explain serves GET <path>?help=1. As on stock servers every valid token may
// ask about the server's own paths, whose texts are the same everywhere. What is
// mounted, though, is told only to who has a permission below the mount; to
// others a mount is like none.
func (a *API) explain(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	if strings.HasPrefix(r.Path+"/", "sys/") || strings.HasPrefix(r.Path+"/", tokens.Mount) {
		return a.explainOwn(r.Path)
	}
	for _, m := range a.mounted {
		if prefix := strings.TrimPrefix(m.prefix, request.Root); strings.HasPrefix(r.Path+"/", prefix) {
			return help(r.Path, &engine.Help{
				Path: prefix + "…", Synopsis: "Served by another role of the installation.",
				Text: "GET reads there. A token needs read on the path.",
			}, nil), nil
		}
	}
	return a.explainMount(ctx, r)
}

func (a *API) explainOwn(path string) (*wire.Answer, error) {
	h, found := a.helpOf(path)
	if !found {
		return nil, wire.UnsupportedPath()
	}
	var below []engine.Help
	if path+"/" == tokens.Mount || path == "sys" {
		for _, one := range a.helps {
			if strings.HasPrefix(one.Path, path+"/") {
				below = append(below, one)
			}
		}
	}
	return help(path, &h, below), nil
}

// helpOf is the help of one of the server's own paths: that of its route, where
// it has one.
func (a *API) helpOf(path string) (engine.Help, bool) {
	of := func(name string) (engine.Help, bool) {
		i := slices.IndexFunc(a.helps, func(h engine.Help) bool { return h.Path == name })
		if i < 0 {
			return engine.Help{}, false
		}
		return a.helps[i], true
	}
	for i := range a.routes {
		if _, ok := a.routes[i].match(path); !ok {
			continue
		}
		if h, ok := of(a.routes[i].name()); ok {
			return h, true
		}
	}
	return of(path) // open without a token, or not served at all
}

// name is the route's pattern with its tail.
func (t *route) name() string { return t.pattern + t.tail }

func (a *API) explainMount(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	mount, rest, all, err := a.mountOf(ctx, r.Path)
	if err != nil && fault.Of(err, r.ID).Status != http.StatusNotFound {
		return nil, err
	}
	below := mount
	if err != nil { // there is none: what may the caller know of the path?
		below = r.Path + "/"
	}
	reaches, lost := a.access.ReachesBelow(ctx, r, r.Path, below)
	switch {
	case lost != nil:
		return nil, lost
	case !reaches:
		return nil, access.Denied()
	case err != nil:
		return nil, err
	}
	r.Mount = mount
	h, found := engine.FindHelp(all, rest)
	if !found {
		return nil, wire.UnsupportedPath()
	}
	if rest != "" {
		all = nil
	}
	return help(r.Path, &h, all), nil
}

// mountOf finds the mount of path, what is left of path below it, and what
// there is to say about its paths.
func (a *API) mountOf(ctx context.Context, path string) (mount, rest string, all []engine.Help, err error) {
	if strings.HasPrefix(path, auth.Root) {
		m, rest, all, err := a.Auth.Explain(ctx, path)
		return m.Path, strings.TrimSuffix(rest, "/"), all, err
	}
	m, rest, err := a.Mounts.Resolve(ctx, path)
	if err != nil {
		return "", "", nil, err
	}
	if h, ok := a.Engines[m.Type].(engine.Helper); ok {
		all = h.Help()
	}
	return m.Path, rest, all, nil
}

// help is the answer about path. below are the paths to list under it.
func help(path string, h *engine.Help, below []engine.Help) *wire.Answer {
	var b strings.Builder
	b.WriteString("Path:     " + path + "\n")
	if shown := display(h.Path); shown != "" && shown != path {
		b.WriteString("Matches:  " + shown + "\n")
	}
	b.WriteString("\n" + h.Synopsis + "\n")
	if h.Text != "" {
		b.WriteString("\n" + h.Text + "\n")
	}
	title := "\n## PATHS\n"
	for _, one := range below {
		if one.Path == "" || one.Path == h.Path {
			continue
		}
		b.WriteString(title + "\n    " + display(one.Path) + "\n        " + one.Synopsis + "\n")
		title = ""
	}
	return &wire.Answer{Bare: explained{Help: b.String()}}
}

// display is a pattern as people write it.
func display(pattern string) string { return strings.ReplaceAll(pattern, "…", "<path>") }
