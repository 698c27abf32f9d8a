#!/bin/sh
# Makes the passwords of docker-compose.yml, once: what is there stays.
set -eu
cd "$(dirname "$0")"
umask 077
mkdir -p secrets
for name in postgres-password store-password nats-password redis-password; do
	[ -s "secrets/$name" ] || LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c 32 >"secrets/$name"
	# Read by the users of the images, which are not ours.
	chmod 644 "secrets/$name"
done
