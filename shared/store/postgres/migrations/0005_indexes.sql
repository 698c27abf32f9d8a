-- What has ended is looked for by its id or its account only: the other indexes
-- hold what has not, so that the end of a lease writes nothing to them.
DROP INDEX {s}.leases_path, {s}.leases_token, {s}.leases_account, {s}.leases_mount, {s}.leases_target;

CREATE INDEX leases_path    ON {s}.leases (id) WHERE NOT ended;
CREATE INDEX leases_token   ON {s}.leases (token_id, id) WHERE NOT ended AND token_id IS NOT NULL;
CREATE INDEX leases_mount   ON {s}.leases (mount_id, id) WHERE NOT ended AND mount_id IS NOT NULL;
CREATE INDEX leases_target  ON {s}.leases (target, id) WHERE NOT ended AND target IS NOT NULL;
CREATE INDEX leases_account ON {s}.leases (account, id) WHERE account IS NOT NULL;

-- Events about tokens, which issuers ask for many times a second (D7): found
-- without a look at the others that wait for their numbers.
CREATE INDEX events_token ON {s}.events (seq) WHERE strpos(body, '"kind":"token"') > 0;
