package auth

import (
	"context"

	"github.com/curfew-project/curfew/shared/engine"
)

// Help explains the paths below sys/ that a [Table] serves. What is below the
// mounts themselves is explained by their methods; see [Table.Explain].
func Help() []engine.Help {
	const (
		one  = "GET shows it. POST enables it and takes type, description and config. DELETE disables it: every token that it gave is revoked."
		tune = "POST changes default_lease_ttl, max_lease_ttl, description, listing_visibility, token_type and user_lockout_config, GET shows them."
	)
	return []engine.Help{
		{Path: "sys/auth", Synopsis: "The enabled auth methods.", Text: "GET shows them with their settings."},
		{Path: "sys/auth/…", Synopsis: "A mount of an auth method.", Text: one},
		{Path: "sys/auth/…/tune", Synopsis: "The settings of an auth method.", Text: tune},
		{Path: "sys/mounts/auth/…", Synopsis: "A mount of an auth method, by the name that some clients use.", Text: "GET shows it. It is enabled and disabled at sys/auth/<path>."},
		{Path: "sys/mounts/auth/…/tune", Synopsis: "The settings of an auth method, by the name that some clients use.", Text: tune},
	}
}

// Explain finds the auth mount that serves path, which begins with auth/, what
// remains of path below it, and what its method explains.
func (t *Table) Explain(ctx context.Context, path string) (m Mount, rest string, all []engine.Help, err error) {
	m, rest, err = t.Resolve(ctx, path+"/") // the mount itself, too
	if err != nil {
		return m, "", nil, err
	}
	if h, ok := t.methods[m.Type].(engine.Helper); ok {
		all = h.Help()
	}
	return m, rest, all, nil
}
