"""An application that gets in by AppRole and works with a leased database account.

Each step is one line of JSON on standard output: what the client library gave,
or the exception that it raised. After "credential" and "revoked" it waits for a
line on standard input; whoever started it looks at the account meanwhile.
"""

import json
import os
import sys

import hvac


def say(step, **what):
    print(json.dumps({"step": step, **what}), flush=True)


def wait():
    if not sys.stdin.readline():
        sys.exit("nobody listens any more")


def refused(step, act):
    try:
        act()
    except hvac.exceptions.VaultError as e:
        say(step, error=type(e).__name__, text=", ".join(e.errors or []))
    else:
        say(step, error=None)


client = hvac.Client(url=os.environ["VAULT_ADDR"])
say("health", **client.sys.read_health_status(method="GET"))

auth = client.auth.approle.login(os.environ["ROLE_ID"], os.environ["SECRET_ID"])["auth"]
say("login", policies=auth["policies"], renewable=auth["renewable"], ttl=auth["lease_duration"],
    authenticated=client.is_authenticated())

credential = client.secrets.database.generate_credentials(os.environ["ROLE"])
lease = credential["lease_id"]
say("credential", lease=lease, ttl=credential["lease_duration"], renewable=credential["renewable"],
    user=credential["data"]["username"], password=credential["data"]["password"])
wait()

renewed = client.sys.renew_lease(lease, increment=7200)
say("renewed", lease=renewed["lease_id"], ttl=renewed["lease_duration"])
found = client.sys.read_lease(lease)["data"]
say("lease", lease=found["id"], ttl=found["ttl"], renewable=found["renewable"])
own = client.auth.token.renew_self()["auth"]
say("token", ttl=own["lease_duration"], **{key: client.auth.token.lookup_self()["data"][key]
                                          for key in ("display_name", "path", "policies", "meta")})

refused("denied", lambda: client.secrets.database.generate_credentials("app"))
refused("no route", lambda: client.secrets.database.generate_credentials("x", mount_point="nosuch"))

client.sys.revoke_lease(lease)
say("revoked")
wait()
refused("ended", lambda: client.sys.renew_lease(lease))

client.logout(revoke_token=True)
client.token = auth["client_token"]
refused("logged out", client.auth.token.lookup_self)
