package postgres

import (
	"fmt"
	"hash/fnv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// schema is the quoted name of the schema that has the store's tables. Every
// statement names it, since a search path is a setting of the session and
// behind a pooler there are no sessions.
type schema string

// nameLimit is what Postgres keeps of a name.
const nameLimit = 63

func newSchema(name string) (schema, error) {
	if name == "" || len(name) > nameLimit || strings.ContainsRune(name, 0) || strings.HasPrefix(name, "pg_") {
		return "", fmt.Errorf("schema %q: want a name of 1 to %d bytes that does not begin with pg_", name, nameLimit)
	}
	return schema(pgx.Identifier{name}.Sanitize()), nil
}

// key is the schema's own among the advisory locks of the database.
func (s schema) key() int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("curfew " + s)) // never fails
	return int64(h.Sum64())               //nolint:gosec // any 64 bits will do
}

// in puts the schema into a statement, in the place of {s}.
func (s schema) in(query string) string { return strings.ReplaceAll(query, "{s}", string(s)) }
