-- When the server was started whose data was compared with the record last (A7):
-- NULL, or another start than the present one, where that has still to be done.
-- A store that is new has nothing to be compared.
ALTER TABLE {s}.meta ADD COLUMN compared timestamptz;

UPDATE {s}.meta SET compared = pg_postmaster_start_time() WHERE timeline = 0;
