// Package sqltext reads the SQL that people write into a role and makes of it
// the SQL that goes to PostgreSQL (B4, B9, B10).
//
// Statements of many leases travel to a target in one message, so a text must
// not be able to reach beyond itself: not by a quote that a value closes, not
// by a COMMIT, not by a comment that swallows what follows. The package decides
// all of that when the role is written, with the rules of PostgreSQL's own
// lexer, and says no with the number of the statement and the reason.
//
// # Contract
//
//   - [Parse] splits at semicolons outside quotes, comments and parentheses,
//     drops empty statements and keeps the order. Statements are numbered from
//     1 across all texts of a list.
//   - A variable is {{name}}, {{username}} (the same), {{password}} or
//     {{expiration}}, with or without spaces inside the braces. It stands
//     inside quotes, and [Statement.Render] escapes its value for those quotes:
//     "…", '…', E'…', $tag$…$tag$. Everything else is refused: a variable
//     outside quotes, in U&'…', U&"…", B'…' or X'…', and one that is unknown or
//     has no value in statements of this [Kind].
//   - The body of a DO or of CREATE FUNCTION is lexed again, so a variable in a
//     literal or an identifier of the body is escaped for that one.
//   - Comments do not reach the server. A variable in a comment is not
//     substituted.
//   - [Statement.Source] is the statement without comments; parsing it again
//     gives the same statement. A lease keeps sources, not renderings (A2).
//   - [Script.Share] puts each statement of a creation into exactly one of two
//     halves, the account's and a group role's, or refuses all of them.
//   - Errors hold keywords, positions and names of variables, never literals,
//     identifiers or values.
//
// # Invariants
//
//   - Rendering never changes the token structure: the rendered statement has
//     the same tokens as the source, and each quoted token means the source's
//     with the bare values put in. Render refuses a value for which that cannot
//     hold: one with a NUL or broken UTF-8, an empty one, one that makes an
//     identifier longer than the 63 bytes at which PostgreSQL cuts it off, and
//     one that would close a dollar quote.
//   - A literal around a variable that itself holds quotes ('GRANT x TO
//     "{{name}}"' inside EXECUTE, say) may be code once more. The lexer cannot
//     know, so values with quotes, backslashes or dollar signs are refused
//     there. Account names and generated passwords have none of them.
//   - A batchable statement neither changes the session nor runs code of the
//     target's, and the account it creates, alters or drops is the lease's own.
//   - Every statement that is accepted can run inside a transaction block.
//
// # What is assumed of the session
//
// standard_conforming_strings = on, a client encoding of UTF-8, and no settings
// left over from earlier statements. Statements that would change the first two
// are refused where they can be seen; a function called by a statement can still
// do it, which is one reason why calls run alone on a session that is reset.
//
// # What is refused on purpose although PostgreSQL takes it
//
//	string literals in a row    'a' newline 'b' is one string, whose kind the
//	                            first decides
//	BEGIN ATOMIC bodies         semicolons outside quotes inside a statement
//	                            (dollar quotes do the same)
//	parameters ($1)             nothing is bound to them
//	hexadecimal numbers and     read differently by different versions
//	digits with underscores
//	'{{a,b},{c,d}}'             reads as a variable: write ARRAY[…]
//	creating another account    nobody would revoke it
//	renaming the lease's own    nobody would find it
//	VACUUM, CLUSTER, REINDEX    some forms cannot run in a transaction, and
//	                            none has a place in a role
//
// # What can go wrong
//
//	statement is refused at write      400 with number and reason; nothing stored
//	a frozen statement is refused by   the revocation goes on with the safe
//	a later, stricter version          default and parks the reason (C5, C8)
//	the server refuses the statement   its SQLSTATE, with the same number
//
// The package is pure and safe for concurrent use.
package sqltext
