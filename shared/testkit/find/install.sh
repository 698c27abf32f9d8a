# install PACKAGE SERVICE: apt-get install that asks nothing and leaves no
# service running, enabled, or with data, that was not there before.
package=$1 service=$2
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
undo() { :; }
trap 'undo' EXIT
trap 'exit 1' HUP INT TERM

# Packages ask this program before they start what they bring (101: don't).
# Where a machine has one already, its owner has decided.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	undo() { rm -f "$policy"; }
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

# A newly installed Postgres makes itself a cluster "main", unless told not to.
clusters=/etc/postgresql-common/createcluster.conf
if [ "$package" = postgresql ] && [ ! -e "$clusters" ]; then
	mkdir -p "${clusters%/*}"
	echo 'create_main_cluster = false' >"$clusters"
fi

apt='apt-get -q -o DPkg::Lock::Timeout=300'
$apt update
$apt install -y --no-install-recommends -o Dpkg::Options::=--force-confold "$package"

# Not at the next start of the machine either.
if command -v systemctl >/dev/null; then
	systemctl disable "$service" >/dev/null 2>&1 || :
fi
