package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/curfew-project/curfew/issuer/internal/wire"
)

// rule is what a policy says about the paths of one pattern.
type rule struct {
	pattern
	can        capability
	parameters parameters
	wrap       bounds
}

// bounds are those of the wrapping TTL; 0 is none.
type bounds struct {
	min, max time.Duration
}

func readRules(root *object) ([]rule, error) {
	var rules []rule
	named := false
	for _, f := range root.fields {
		switch f.name {
		case "path":
			more, err := readPaths(f)
			if err != nil {
				return nil, err
			}
			rules = append(rules, more...)
		case "name": // of no meaning, but stock servers take it
			if _, ok := f.value.(string); !ok || len(f.labels) > 0 {
				return nil, errors.New("name: expected a string")
			}
			if named {
				return nil, f.again()
			}
			named = true
		default:
			return nil, fmt.Errorf("invalid key %q on line %d", f.name, f.line)
		}
	}
	return rules, nil
}

// readPaths reads path "secret/foo" {…} or, as in JSON, an object of paths.
func readPaths(f field) ([]rule, error) {
	switch len(f.labels) {
	case 0:
	case 1:
		f = field{value: &object{fields: []field{{name: f.labels[0], line: f.line, value: f.value}}}}
	default:
		return nil, fmt.Errorf("path %q on line %d: a path is one string", f.labels[0], f.line)
	}
	groups, ok := objects(f.value)
	if !ok {
		return nil, fmt.Errorf("path on line %d: expected an object", f.line)
	}
	var rules []rule
	for _, group := range groups {
		for _, path := range group.fields {
			stanzas, ok := objects(path.value)
			if !ok || len(path.labels) > 0 {
				return nil, fmt.Errorf("path %q on line %d: expected an object", path.name, path.line)
			}
			for _, stanza := range stanzas {
				r, err := readRule(path.name, stanza)
				if err != nil {
					return nil, fmt.Errorf("path %q: %w", path.name, err)
				}
				rules = append(rules, r)
			}
		}
	}
	return rules, nil
}

func readRule(path string, stanza *object) (rule, error) {
	p, err := parsePattern(path)
	if err != nil {
		return rule{}, err
	}
	r := rule{pattern: p}
	seen := map[string]bool{}
	for _, f := range stanza.fields {
		if len(f.labels) > 0 {
			return rule{}, fmt.Errorf("%s on line %d: takes no label", f.name, f.line)
		}
		if seen[f.name] {
			return rule{}, f.again()
		}
		seen[f.name] = true
		if err := r.set(f); err != nil {
			return rule{}, err
		}
	}
	if r.wrap.min > 0 && r.wrap.max > 0 && r.wrap.max < r.wrap.min {
		return rule{}, errors.New("max_wrapping_ttl cannot be less than min_wrapping_ttl")
	}
	if r.can.has(denied) {
		// What is denied is denied with any parameter.
		return rule{pattern: p, can: denied}, nil
	}
	return r, nil
}

func (r *rule) set(f field) (err error) {
	switch f.name {
	case "capabilities":
		return r.setCapabilities(f.value)
	case "policy":
		return r.setShorthand(f.value)
	case "allowed_parameters":
		r.parameters.allowed, err = readValues(f.value)
	case "denied_parameters":
		r.parameters.denied, err = readValues(f.value)
	case "required_parameters":
		r.parameters.required, err = readRequired(f.value)
	case "min_wrapping_ttl":
		r.wrap.min, err = readTTL(f.value)
	case "max_wrapping_ttl":
		r.wrap.max, err = readTTL(f.value)
	case "comment":
		if _, ok := f.value.(string); !ok {
			err = errors.New("expected a string")
		}
	case "mfa_methods", "control_group", "subscribe_event_types",
		"expiration", "pagination_limit", "list_scan_response_keys_filter_path":
		return fmt.Errorf("key %q on line %d is not supported: it would not be enforced", f.name, f.line)
	default:
		return fmt.Errorf("invalid key %q on line %d", f.name, f.line)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	return nil
}

func (r *rule) setCapabilities(value any) error {
	names, err := texts(value)
	if err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	for _, name := range names {
		c := capabilityOf(name)
		if c == 0 {
			return fmt.Errorf("invalid capability %q", name)
		}
		r.can = r.can.join(c)
	}
	return nil
}

func (r *rule) setShorthand(value any) error {
	name, ok := value.(string)
	if !ok {
		return errors.New("policy: expected a string")
	}
	c, ok := shorthand(name)
	if !ok {
		return fmt.Errorf("invalid policy %q", name)
	}
	r.can = r.can.join(c)
	return nil
}

func readRequired(value any) ([]string, error) {
	names, err := texts(value)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		if strings.Contains(name, "*") {
			return nil, fmt.Errorf("parameter key %q: wildcard is not permitted here", name)
		}
		if err := checkParameter(name); err != nil {
			return nil, err
		}
		names[i] = strings.ToLower(name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func readValues(value any) (map[string][]any, error) {
	groups, ok := objects(value)
	if !ok {
		return nil, errors.New("expected an object of lists")
	}
	out := map[string][]any{}
	for _, group := range groups {
		for _, f := range group.fields {
			list, ok := f.value.([]any)
			if !ok || !scalar(list) || len(f.labels) > 0 {
				return nil, fmt.Errorf("parameter key %q: expected a list of strings, numbers and truth values; [] is any value", f.name)
			}
			if err := checkParameter(f.name); err != nil {
				return nil, err
			}
			name := strings.ToLower(f.name)
			if _, twice := out[name]; twice {
				return nil, f.again()
			}
			if name == every && len(list) > 0 {
				return nil, fmt.Errorf("parameter key %q takes no values, only []", name)
			}
			out[name] = list
		}
	}
	return out, nil
}

func checkParameter(name string) error {
	switch {
	case strings.HasPrefix(name, "/"):
		return fmt.Errorf("parameter key %q: pointers into nested values are not supported", name)
	case name != every && strings.Contains(name, "*"):
		return fmt.Errorf("parameter key %q cannot contain non-tail wildcards", name)
	}
	return nil
}

func readTTL(value any) (time.Duration, error) {
	switch v := value.(type) {
	case string:
		return wire.ParseDuration(v)
	case json.Number:
		return wire.ParseDuration(v.String())
	}
	return 0, errors.New("expected a duration or a number of seconds")
}

func texts(value any) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		return nil, errors.New("expected a list of strings")
	}
	out := make([]string, len(list))
	for i, item := range list {
		if out[i], ok = item.(string); !ok {
			return nil, errors.New("expected a list of strings")
		}
	}
	return out, nil
}
