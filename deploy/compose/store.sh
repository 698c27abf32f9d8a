#!/bin/sh
# Runs once, when the store's volume is new: Curfew's login and database.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$(cat /run/secrets/store-password)" --username postgres --dbname postgres <<'SQL'
CREATE ROLE curfew LOGIN PASSWORD :'password';
CREATE DATABASE curfew OWNER curfew;
SQL
