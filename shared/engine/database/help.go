package database

import "github.com/curfew-project/curfew/shared/engine"

// Help implements [engine.Helper].
func (e *Engine) Help() []engine.Help {
	return []engine.Help{
		{
			Path: "", Synopsis: "Credentials of databases that live as long as their lease.",
			Text: "Write a connection (config/<name>) and a role (roles/<name>); each read of creds/<role> then makes an account.\n" +
				"At the end of its lease the account can no longer log in, its sessions are ended, and it is dropped.",
		},
		{
			Path: "config", Synopsis: "The names of connections.",
			Text: "LIST gives them.",
		},
		{
			Path: "config/<name>", Synopsis: "A connection to a database, and the user that makes accounts there.",
			Text: "PUT takes plugin_name (postgresql-database-plugin), connection_url with {{username}} and {{password}}, username,\n" +
				"password, allowed_roles (names or globs), verify_connection, username_template (with {{.Mark}} in it),\n" +
				"password_policy (see sys/policies/password) and more; fields that are left out keep their value.\n" +
				"GET shows it without its password. DELETE hides it at once; its credential is kept until its last lease has ended.",
		},
		{
			Path: "roles", Synopsis: "The names of roles.",
			Text: "LIST gives them.",
		},
		{
			Path: "roles/<name>", Synopsis: "What the accounts of a role may do, and for how long.",
			Text: "PUT takes db_name (a connection), creation_statements, and if wanted revocation_statements, renew_statements,\n" +
				"rollback_statements, default_ttl and max_ttl. Statements use {{name}}, {{password}} and {{expiration}}; they are read\n" +
				"when the role is written, and what cannot be right is refused. Leases that are live keep what they began with.\n" +
				"With shared_grants what they grant on objects is granted once, to a group role of Curfew's.",
		},
		{
			Path: "roles/<name>/check", Synopsis: "What would go wrong with a role.",
			Text: "GET plays the life of an account on the server, in a transaction that is rolled back, and answers ok and findings.\n" +
				"Nothing is changed.",
		},
		{
			Path: "creds/<role>", Synopsis: "A new account of the role, and its lease.",
			Text: "GET answers username and password. sys/leases/renew prolongs the lease, sys/leases/revoke ends it.",
		},
		{
			Path: "rotate-root/<name>", Synopsis: "A new password for the admin user of a connection, which nobody is told.",
			Text: "PUT sets it. A user that another connection uses as well is refused, and the other is named; force overrides that.",
		},
		{
			Path: "reset/<name>", Synopsis: "New sessions for a connection.",
			Text: "PUT closes those that are open once they are not in use, in every process.",
		},
		{
			Path: "static-roles", Synopsis: "The names of static roles.",
			Text: "LIST gives them.",
		},
		{
			Path: "static-roles/<name>", Synopsis: "An account that people made, whose password is changed again and again.",
			Text: "PUT takes db_name (a connection), username, rotation_period and if wanted rotation_statements; the password is\n" +
				"changed at once. GET shows the role and when it is changed next. DELETE leaves the account as it is.",
		},
		{
			Path: "static-creds/<name>", Synopsis: "The password of a static role as it is now.",
			Text: "GET answers username, password and how long it is good for. There is no lease.",
		},
		{
			Path: "rotate-role/<name>", Synopsis: "A new password for a static role, now.",
			Text: "PUT sets it.",
		},
	}
}

var _ engine.Helper = (*Engine)(nil)
