package postgres

import (
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// missing spells the GRANT out that an admin user lacks, from what the server
// refused, or returns "". Names come from the server's message; in another
// language than English it says less.
func (t *Target) missing(f *fault, pg *pgconn.PgError) string {
	admin := ident(t.main.config.User)
	msg := pg.Message
	match := func(pattern string) []string { return regexp.MustCompile(pattern).FindStringSubmatch(msg) }
	switch {
	case match(`to create role|create role|CREATEROLE`) != nil:
		return "ALTER ROLE " + admin + " CREATEROLE"
	case match(`terminate (?:superuser )?process|must be a member of the role whose process`) != nil:
		if match(`superuser|SUPERUSER`) != nil {
			return "the session is one of a superuser, which only a superuser may end"
		}
		return "GRANT pg_signal_backend TO " + admin
	case match(`must be (?:a )?superuser`) != nil, regexp.MustCompile(`(SUPERUSER|REPLICATION|BYPASSRLS) attribute may`).MatchString(pg.Detail):
		return "only a superuser may do this; give the role fewer attributes, or the connection another user"
	}
	if m := match(`(?:must have admin option on role|permission denied to grant role|permission denied to revoke role) "(.+)"`); m != nil {
		return "GRANT " + ident(m[1]) + " TO " + admin + " WITH ADMIN OPTION"
	}
	if m := match(`(?:must be member of role|must be able to SET ROLE) "(.+)"`); m != nil {
		return "GRANT " + ident(m[1]) + " TO " + admin
	}
	if match(`permission denied to (?:alter|drop) role`) != nil {
		if f != nil && f.account != "" {
			return "GRANT " + ident(f.account) + " TO " + admin + " WITH ADMIN OPTION"
		}
		return "the account was made by another user: GRANT it TO " + admin + " WITH ADMIN OPTION"
	}
	if match(`permission denied to (?:reassign|drop) objects`) != nil {
		if f != nil && f.heir != "" && f.heir != t.main.config.User {
			return "GRANT " + ident(f.heir) + " TO " + admin
		}
		return "membership in the account: GRANT it TO " + admin + " WITH ADMIN OPTION"
	}
	if m := match(`permission denied for (\w+(?: \w+)?) (.+)$`); m != nil {
		return grantOption(f, m[1], m[2], admin)
	}
	if m := match(`(?:no|not all) privileges were granted for "(.+)"`); m != nil {
		return grantOption(f, kindOf(f), m[1], admin)
	}
	if m := match(`must be owner of (\w+(?: \w+)?) (.+)$`); m != nil {
		return "ownership of " + m[1] + " " + ident(strings.Trim(m[2], `"`)) + ", or membership in its owner"
	}
	return ""
}

// grantOption is what lets the admin hand a privilege on.
func grantOption(f *fault, kind, object, admin string) string {
	privileges, statement := "", ""
	if f != nil {
		statement = f.source
	}
	if m := regexp.MustCompile(`(?is)\bGRANT\s+([A-Z, ]+?)\s+ON\b`).FindStringSubmatch(statement); m != nil {
		privileges = strings.ToUpper(strings.Join(strings.Fields(m[1]), " "))
	}
	object = ident(strings.Trim(object, `"`))
	if kind == "table" || kind == "relation" || kind == "view" {
		kind = "table"
	}
	if privileges == "" {
		return "a privilege on " + kind + " " + object
	}
	return "GRANT " + privileges + " ON " + strings.ToUpper(kind) + " " + object + " TO " + admin + " WITH GRANT OPTION"
}

// kindOf guesses what kind of object a GRANT is about.
func kindOf(f *fault) string {
	if f == nil {
		return "table"
	}
	m := regexp.MustCompile(`(?is)\bON\s+(?:ALL\s+)?(TABLE|SEQUENCE|DATABASE|SCHEMA|FUNCTION|PROCEDURE|ROUTINE|LANGUAGE|TYPE|DOMAIN|TABLESPACE)S?\b`).
		FindStringSubmatch(f.source)
	if m == nil {
		return "table"
	}
	return strings.ToLower(m[1])
}
