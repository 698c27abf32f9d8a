package access

import (
	"context"
	"strings"

	"github.com/curfew-project/curfew/issuer/internal/policy"
	"github.com/curfew-project/curfew/issuer/internal/request"
	"github.com/curfew-project/curfew/issuer/internal/wire"
)

// ResultantACL serves GET sys/internal/ui/resultant-acl: what the policies of
// the caller's token say together. A path in glob_paths stands for all that
// begin with it, as stock servers show it; one with a + stands there as it was
// written.
func (d *Desk) ResultantACL(ctx context.Context, r *request.Request) (*wire.Answer, error) {
	acl, err := d.ACL(ctx, r.Caller.Policies)
	if err != nil {
		return nil, err
	}
	if acl.Root() {
		return wire.OK(map[string]any{"root": true}), nil
	}
	exact, globs := map[string]any{}, map[string]any{}
	for _, rule := range acl.Rules() {
		switch {
		case rule.Exact:
			exact[rule.Pattern] = shape(&rule)
		case strings.Contains("/"+rule.Pattern+"/", "/+/"):
			globs[rule.Pattern] = shape(&rule)
		default:
			globs[strings.TrimSuffix(rule.Pattern, "*")] = shape(&rule)
		}
	}
	return wire.OK(map[string]any{"root": false, "exact_paths": exact, "glob_paths": globs}), nil
}

func shape(rule *policy.Rule) map[string]any {
	out := map[string]any{"capabilities": rule.Capabilities}
	if rule.MinWrap > 0 {
		out["min_wrapping_ttl"] = wire.Seconds(rule.MinWrap)
	}
	if rule.MaxWrap > 0 {
		out["max_wrapping_ttl"] = wire.Seconds(rule.MaxWrap)
	}
	if len(rule.Allowed) > 0 {
		out["allowed_parameters"] = rule.Allowed
	}
	if len(rule.Denied) > 0 {
		out["denied_parameters"] = rule.Denied
	}
	if len(rule.Required) > 0 {
		out["required_parameters"] = rule.Required
	}
	return out
}
