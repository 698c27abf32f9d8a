INSERT INTO {s}.leases VALUES ('database/creds/readonly/1', 'secret', 'active', 2, 7, 'm', 't', 'auth/token/1', 'v-app-readonly',
	1900000000000000000, NULL, false, 2,
	'{"id":"database/creds/readonly/1","kind":"secret","state":"active","version":2,"last_key":"k","position":0,"mount_id":"m","target":"t","token_id":"auth/token/1","account":"v-app-readonly","handle":"b2lk","issued_by":{"name":"accessor"},"ttl":3600000000000,"max_ttl":0,"capped_by":"mount","renewable":true,"issued_at":"2030-01-01T00:00:00Z","expires_at":"2030-03-17T17:46:40Z"}');
INSERT INTO {s}.entries VALUES ('role', 'e1', 'm/r', 3, '{}', false, 1800000000000000000);
INSERT INTO {s}.events VALUES (1, '{"type":"lease.intent","subject":"database/creds/readonly/1"}'),
	(2, '{"type":"lease.created","subject":"database/creds/readonly/1"}'), (4, '{"type":"config.changed","subject":"m/r"}');
INSERT INTO {s}.runs VALUES (1, 1, 1, 2);
UPDATE {s}.head SET number = 2, examined = 2, stored = 2;
SELECT setval('{s}.positions', 7), setval('{s}.event_seqs', 4);
