// An application that gets in by AppRole and works with a leased database
// account.
//
// Each step is one line of JSON on standard output: what the client library
// gave, or the error that it threw. After "credential" and "revoked" it waits
// for a line on standard input; whoever started it looks at the account
// meanwhile.
'use strict';

const { createInterface } = require('node:readline');
const connect = require('node-vault');

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function say(step, what = {}) {
  process.stdout.write(`${JSON.stringify({ step, ...what })}\n`);
}

async function wait() {
  if ((await input.next()).done) {
    throw new Error('nobody listens any more');
  }
}

async function refused(step, act) {
  try {
    await act();
  } catch (err) {
    if (!err.response) throw err; // not the server's
    say(step, { error: err.constructor.name, status: err.response.statusCode, text: err.message });
    return;
  }
  say(step, { error: null });
}

async function main() {
  const client = connect({ endpoint: process.env.VAULT_ADDR });
  say('health', await client.health());

  const { auth } = await client.approleLogin({ role_id: process.env.ROLE_ID, secret_id: process.env.SECRET_ID });
  say('login', { policies: auth.policies, renewable: auth.renewable, ttl: auth.lease_duration, authenticated: client.token === auth.client_token });

  const credential = await client.read(`database/creds/${process.env.ROLE}`);
  const lease = credential.lease_id;
  say('credential', {
    lease,
    ttl: credential.lease_duration,
    renewable: credential.renewable,
    user: credential.data.username,
    password: credential.data.password,
  });
  await wait();

  const renewed = await client.renew({ lease_id: lease, increment: 7200 });
  say('renewed', { lease: renewed.lease_id, ttl: renewed.lease_duration });
  const found = (await client.write('sys/leases/lookup', { lease_id: lease })).data;
  say('lease', { lease: found.id, ttl: found.ttl, renewable: found.renewable });
  const own = (await client.tokenRenewSelf()).auth;
  const { display_name, path, policies, meta } = (await client.tokenLookupSelf()).data;
  say('token', { ttl: own.lease_duration, display_name, path, policies, meta });

  await refused('denied', () => client.read('database/creds/app'));
  await refused('no route', () => client.read('nosuch/creds/x'));

  await client.revoke({ lease_id: lease });
  say('revoked');
  await wait();
  await refused('ended', () => client.renew({ lease_id: lease }));

  await client.tokenRevokeSelf();
  await refused('logged out', () => client.tokenLookupSelf());
  process.stdin.destroy();
}

main().catch((err) => {
  process.stderr.write(`${err.stack}\n`);
  process.exitCode = 1;
  process.stdin.destroy();
});
