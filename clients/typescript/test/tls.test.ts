// Against a server that serves TLS and asks for a key.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Code, connect } from "../src/index.js";
import { Served, certificate, createKey, temporaryFolder } from "./served.js";

const folder = temporaryFolder();
const { ca, certFile, keyFile } = certificate(folder);
const { key, entry } = createKey("booking", "session");
const user = { userId: "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0001" };
let server: Served;
let target: string;

before(async () => {
  server = await Served.start(folder, { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, API_KEYS: entry });
  target = server.address.replace("127.0.0.1", "localhost");
});

after(async () => {
  await server.stop();
});

test("with the authority and a key, calls are answered", async () => {
  const client = connect(target, { apiKey: key, tls: { ca } });
  const { token } = await client.session.createSession({ ...user, data: { theme: "dark" } });
  const { session } = await client.session.getSession({ token });
  assert.deepEqual(session?.data, { theme: "dark" });
  client.close();
});

test("the key may come from a function, and a call's own header wins", async () => {
  const client = connect(`https://${target}`, { apiKey: () => Promise.resolve(key), tls: { ca } });
  await client.session.listSessions(user);
  const headers = { authorization: "Bearer forged" };
  await assert.rejects(client.session.listSessions(user, { headers }), { reason: "CREDENTIAL_INVALID" });
  client.close();
});

test("without a key a call is refused, and outside the key's scope too", async () => {
  const nobody = connect(target, { tls: { ca } });
  await assert.rejects(nobody.session.listSessions(user), { code: Code.Unauthenticated, reason: "CREDENTIAL_INVALID" });
  nobody.close();
  const client = connect(target, { apiKey: key, tls: { ca } });
  await assert.rejects(client.matching.getProfile(user), { code: Code.PermissionDenied, reason: "ACCESS_DENIED" });
  client.close();
});

test("a certificate of an authority that is not trusted ends the call", async () => {
  const client = connect(target, { apiKey: key, tls: true, maxAttempts: 1 });
  await assert.rejects(client.session.listSessions(user), { reason: undefined });
  client.close();
});
