package cli

import (
	"context"
	"maps"
	"slices"
	"strings"
)

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
		names := append(slices.Collect(maps.Keys(mounts)), "auth/", "sys/")
		slices.Sort(names)
		return slices.Compact(names), nil
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
