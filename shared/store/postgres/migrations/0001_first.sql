-- Times are nanoseconds since 1970 UTC, NULL for "never": the times of a lease
-- are decided to the nanosecond, which no type of Postgres holds. Columns beside
-- a body repeat what is searched for; the body is the truth. What is ordered or
-- searched by prefix is COLLATE "C": ids are compared byte by byte, whatever the
-- locale of the database, and no new version of a locale breaks an index.
--
-- Ready to be partitioned by hash of a lease's id: no foreign keys, and no
-- unique index on leases but the one of its id.

-- What every commit reads and hardly any writes. Its row is the lock of
-- configuration.
CREATE TABLE {s}.meta (
	one        boolean PRIMARY KEY DEFAULT true CHECK (one),
	system_id  text   NOT NULL, -- of the cluster; empty where it may not be read (A7)
	timeline   bigint NOT NULL,
	suspension text   NOT NULL DEFAULT '' -- JSON; empty where there is none
) WITH (fillfactor = 50);

-- How far events are numbered (D3). Its row is the lock of numbering.
CREATE TABLE {s}.head (
	one            boolean  PRIMARY KEY DEFAULT true CHECK (one),
	epoch          bigint   NOT NULL DEFAULT 1,
	number         bigint   NOT NULL DEFAULT 0, -- the last one given
	examined       bigint   NOT NULL DEFAULT 0, -- seqs up to here are numbered, or in a gap, or were never committed
	gap_from       bigint[] NOT NULL DEFAULT '{}', -- seqs that were not visible when a later one was numbered
	gap_to         bigint[] NOT NULL DEFAULT '{}',
	gap_xid        bigint[] NOT NULL DEFAULT '{}', -- when no transaction before this one runs, the gap stays empty; 0: not known yet
	stored         bigint   NOT NULL DEFAULT 0, -- numbered and not trimmed
	trimmed_epoch  bigint   NOT NULL DEFAULT 0, -- events up to here are deleted
	trimmed_number bigint   NOT NULL DEFAULT 0
) WITH (fillfactor = 20);

INSERT INTO {s}.head DEFAULT VALUES;

-- Places of beginnings and barriers (A4). Both sequences hand out one value at a
-- time: with a cache their order would mean nothing.
CREATE SEQUENCE {s}.positions AS bigint CACHE 1;
CREATE SEQUENCE {s}.event_seqs AS bigint CACHE 1;

CREATE TABLE {s}.leases (
	id        text   COLLATE "C" PRIMARY KEY,
	kind      text   NOT NULL,
	state     text   NOT NULL,
	version   bigint NOT NULL,
	position  bigint NOT NULL,
	mount_id  text   COLLATE "C",
	target    text   COLLATE "C",
	token_id  text   COLLATE "C",
	account   text   COLLATE "C",
	due_at    bigint,
	ended_at  bigint,
	ended     boolean NOT NULL, -- nothing can follow
	event_seq bigint  NOT NULL, -- of its last event
	body      text    NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);

CREATE INDEX leases_due     ON {s}.leases (due_at, id) INCLUDE (kind, target) WHERE due_at IS NOT NULL;
CREATE INDEX leases_ended   ON {s}.leases (ended_at, event_seq, id) WHERE ended_at IS NOT NULL;
CREATE INDEX leases_path    ON {s}.leases (ended, id);
CREATE INDEX leases_token   ON {s}.leases (token_id, ended, id) WHERE token_id IS NOT NULL;
CREATE INDEX leases_account ON {s}.leases (account, ended, id) WHERE account IS NOT NULL;
CREATE INDEX leases_mount   ON {s}.leases (mount_id, ended, id) WHERE mount_id IS NOT NULL;
CREATE INDEX leases_target  ON {s}.leases (target, ended, id) WHERE target IS NOT NULL;

CREATE TABLE {s}.entries (
	kind       text    COLLATE "C" NOT NULL,
	id         text    COLLATE "C" NOT NULL,
	key        text    COLLATE "C" NOT NULL,
	revision   bigint  NOT NULL,
	value      bytea   NOT NULL,
	withdrawn  boolean NOT NULL,
	changed_at bigint  NOT NULL,
	PRIMARY KEY (kind, id)
);

CREATE UNIQUE INDEX entries_key     ON {s}.entries (kind, key) WHERE NOT withdrawn;
CREATE INDEX        entries_removed ON {s}.entries (kind, key, id) WHERE withdrawn;

-- What of a barrier is in force; its account to people is the entry.
CREATE TABLE {s}.barriers (
	id       text   COLLATE "C" PRIMARY KEY, -- of the entry
	position bigint NOT NULL,
	prefix   text   COLLATE "C" NOT NULL
);

CREATE INDEX barriers_position ON {s}.barriers (position) INCLUDE (prefix);

-- Written once, deleted once, never updated. Vacuumed by count, not by share: a
-- table that is emptied from the front has no size to take a share of.
CREATE TABLE {s}.events (
	seq  bigint PRIMARY KEY,
	body text   NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000,
	autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
	autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);

-- The numbers of events: first, first+1, … of the epoch belong to the events
-- seq, seq+1, …
CREATE TABLE {s}.runs (
	epoch  bigint NOT NULL,
	first  bigint NOT NULL,
	seq    bigint NOT NULL,
	length bigint NOT NULL,
	PRIMARY KEY (epoch, first)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
	autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);

CREATE TABLE {s}.consumers (
	name   text   COLLATE "C" PRIMARY KEY,
	epoch  bigint NOT NULL,
	number bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE {s}.locks (
	name       text   COLLATE "C" PRIMARY KEY,
	owner      text   NOT NULL, -- empty: released
	fence      bigint NOT NULL,
	held_until bigint NOT NULL
) WITH (fillfactor = 50);

-- One row for each place from which a process commits: the serial of its last
-- commit, by which a lost answer is found out (A6) and a step back is seen (A7).
CREATE TABLE {s}.writers (
	id      text   COLLATE "C" PRIMARY KEY,
	commits bigint NOT NULL,
	at      bigint NOT NULL
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- They have one row for ever. Without this the planner takes them for large
-- until they have changed often enough.
INSERT INTO {s}.meta (system_id, timeline) VALUES ('', 0);
ANALYZE {s}.meta, {s}.head;
