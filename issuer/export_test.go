package issuer

import "github.com/curfew-project/curfew/shared/engine"

// Serves is what the API's own table says about a path; pattern is empty where
// it has none.
func (i *Issuer) Serves(path string) (pattern string, ops []engine.Operation) {
	return i.api.Serves(path)
}

// Patterns are those of the API's own table.
func (i *Issuer) Patterns() []string { return i.api.Patterns() }
