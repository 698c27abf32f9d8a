-- What is being taken away is found and summed up without a look at what lives:
-- when access had to end, and whether the revocation needs a person. NULL where
-- the row is not in revocation. A program of an older version that still runs
-- does not write them: until a newer one has looked at such a lease again, it is
-- counted without them.
ALTER TABLE {s}.leases ADD COLUMN access_due bigint, ADD COLUMN parked boolean;

UPDATE {s}.leases SET parked = coalesce((body::json #>> '{revocation,parked}')::boolean, false),
	access_due = (extract(epoch FROM (body::json #>> '{revocation,due_at}')::timestamptz) * 1000000)::bigint * 1000
	WHERE state = 'revoking';

CREATE INDEX leases_revoking ON {s}.leases (id) INCLUDE (mount_id, target, kind, parked, access_due) WHERE state = 'revoking';
