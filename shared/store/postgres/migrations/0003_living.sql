-- How many leases that quotas count live below each path: '', 'database/',
-- 'database/creds/', … The count of a path is the sum over its stripes, so that
-- commits of several places seldom wait for each other's row. Changed in the
-- commit of the transition.
CREATE TABLE {s}.living (
	path   text   COLLATE "C" NOT NULL,
	stripe int    NOT NULL,
	n      bigint NOT NULL,
	PRIMARY KEY (path, stripe)
) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
	autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);

INSERT INTO {s}.living (path, stripe, n)
	SELECT left(id, i), 0, count(*) FROM {s}.leases, generate_series(0, length(id)) i
	WHERE NOT ended AND (kind = 'secret' OR kind = 'token' AND (body::json ->> 'ttl')::bigint > 0)
		AND (i = 0 OR substr(id, i, 1) = '/')
	GROUP BY 1;
