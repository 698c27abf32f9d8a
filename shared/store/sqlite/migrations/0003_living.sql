-- How many leases that quotas count live below each path: "", 'database/',
-- 'database/creds/', … Changed in the commit of the transition.
CREATE TABLE living (
	path TEXT    PRIMARY KEY,
	n    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

WITH RECURSIVE below (path, rest) AS (
	SELECT '', id FROM leases
	WHERE ended = 0 AND (kind = 'secret' OR kind = 'token' AND json_extract(body, '$.ttl') > 0)
	UNION ALL
	SELECT path || substr(rest, 1, instr(rest, '/')), substr(rest, instr(rest, '/') + 1) FROM below WHERE instr(rest, '/') > 0
)
INSERT INTO living (path, n) SELECT path, count(*) FROM below GROUP BY path;
