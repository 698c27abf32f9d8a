-- When the server was started whose data was compared with the record last (A7):
-- NULL, or another start than the present one, where that has still to be done.
-- A store that is new has nothing to be compared.
ALTER TABLE {s}.meta ADD COLUMN compared timestamptz;

UPDATE {s}.meta SET compared = pg_postmaster_start_time() WHERE timeline = 0;

-- How many epochs began because commits were lost. What a process was answered
-- before the last of them is no news to anybody when it is missed (A7).
ALTER TABLE {s}.meta ADD COLUMN recoveries bigint NOT NULL DEFAULT 0;
