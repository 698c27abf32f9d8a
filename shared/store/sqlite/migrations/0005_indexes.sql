-- What has ended is looked for by its id or its account only: the other indexes
-- hold what has not, and the end of a lease takes it out of them.
DROP INDEX leases_path;
DROP INDEX leases_token;
DROP INDEX leases_account;
DROP INDEX leases_mount;
DROP INDEX leases_target;

CREATE INDEX leases_path    ON leases (id) WHERE ended = 0;
CREATE INDEX leases_token   ON leases (token_id, id) WHERE ended = 0 AND token_id IS NOT NULL;
CREATE INDEX leases_mount   ON leases (mount_id, id) WHERE ended = 0 AND mount_id IS NOT NULL;
CREATE INDEX leases_target  ON leases (target, id) WHERE ended = 0 AND target IS NOT NULL;
CREATE INDEX leases_account ON leases (account, id) WHERE account IS NOT NULL;

-- Events about tokens, which issuers ask for many times a second (D7): found
-- without a look at the others that wait for their numbers.
CREATE INDEX events_token ON events (seq) WHERE instr(body, '"kind":"token"') > 0;
