-- What is being taken away is found and summed up without a look at what lives:
-- when access had to end, and whether the revocation needs a person. NULL where
-- the row is not in revocation, or was in it before these columns were.
ALTER TABLE leases ADD COLUMN access_due INTEGER;
ALTER TABLE leases ADD COLUMN parked INTEGER;

UPDATE leases SET parked = coalesce(json_extract(body, '$.revocation.parked'), 0),
	access_due = CAST(round(unixepoch(json_extract(body, '$.revocation.due_at'), 'subsec') * 1000) AS INTEGER) * 1000000
	WHERE state = 'revoking';

CREATE INDEX leases_revoking ON leases (id, mount_id, target, kind, parked, access_due) WHERE state = 'revoking';
