-- Why the store is suspended (A7): JSON, empty where it is not. It stands beside
-- the counters, which every commit reads anyway.
ALTER TABLE meta ADD COLUMN suspension TEXT NOT NULL DEFAULT '';
