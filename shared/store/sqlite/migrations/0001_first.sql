-- Times are integer nanoseconds since 1970 UTC, NULL for "never". Columns
-- beside a body repeat what is searched for; the body is the truth.

CREATE TABLE meta (
	one      INTEGER PRIMARY KEY CHECK (one = 1),
	now      INTEGER NOT NULL, -- store's time of the last commit (A5)
	commits  INTEGER NOT NULL, -- serial of the last commit (A6)
	position INTEGER NOT NULL, -- last place given to a beginning or a barrier (A4)
	seq      INTEGER NOT NULL, -- last event stored
	head     INTEGER NOT NULL, -- last event numbered (D3)
	first    INTEGER NOT NULL  -- oldest event that was not trimmed
) STRICT;

INSERT INTO meta VALUES (1, 0, 0, 0, 0, 0, 1);

-- An event's number is its seq less the base of its epoch (A7).
CREATE TABLE epochs (
	epoch INTEGER PRIMARY KEY,
	base  INTEGER NOT NULL
) STRICT;

INSERT INTO epochs VALUES (1, 0);

CREATE TABLE leases (
	id        TEXT    PRIMARY KEY,
	kind      TEXT    NOT NULL,
	state     TEXT    NOT NULL,
	version   INTEGER NOT NULL,
	position  INTEGER NOT NULL,
	mount_id  TEXT,
	target    TEXT,
	token_id  TEXT,
	account   TEXT,
	due_at    INTEGER,
	ended_at  INTEGER,
	ended     INTEGER NOT NULL, -- 1: nothing can follow
	event_seq INTEGER NOT NULL, -- of its last event
	body      TEXT    NOT NULL
) STRICT;

CREATE INDEX leases_due     ON leases (due_at, id, kind, target) WHERE due_at IS NOT NULL;
CREATE INDEX leases_ended   ON leases (ended_at, event_seq, id) WHERE ended_at IS NOT NULL;
CREATE INDEX leases_path    ON leases (ended, id);
CREATE INDEX leases_token   ON leases (token_id, ended, id) WHERE token_id IS NOT NULL;
CREATE INDEX leases_account ON leases (account, ended, id) WHERE account IS NOT NULL;
CREATE INDEX leases_mount   ON leases (mount_id, ended, id) WHERE mount_id IS NOT NULL;
CREATE INDEX leases_target  ON leases (target, ended, id) WHERE target IS NOT NULL;

CREATE TABLE entries (
	kind       TEXT    NOT NULL,
	id         TEXT    NOT NULL,
	key        TEXT    NOT NULL,
	revision   INTEGER NOT NULL,
	value      BLOB    NOT NULL,
	withdrawn  INTEGER NOT NULL,
	changed_at INTEGER NOT NULL,
	PRIMARY KEY (kind, id)
) STRICT;

CREATE UNIQUE INDEX entries_key     ON entries (kind, key) WHERE withdrawn = 0;
CREATE INDEX        entries_removed ON entries (kind, key, id) WHERE withdrawn = 1;

-- What of a barrier is in force; its account to people is the entry.
CREATE TABLE barriers (
	id       TEXT    PRIMARY KEY, -- of the entry
	position INTEGER NOT NULL,
	prefix   TEXT    NOT NULL
) STRICT;

CREATE INDEX barriers_position ON barriers (position, prefix);

CREATE TABLE events (
	seq  INTEGER PRIMARY KEY,
	body TEXT NOT NULL
) STRICT;

CREATE TABLE consumers (
	name   TEXT    PRIMARY KEY,
	epoch  INTEGER NOT NULL,
	number INTEGER NOT NULL
) STRICT;

CREATE TABLE locks (
	name       TEXT    PRIMARY KEY,
	owner      TEXT    NOT NULL, -- empty: released
	fence      INTEGER NOT NULL,
	held_until INTEGER NOT NULL
) STRICT;
