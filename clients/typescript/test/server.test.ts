// Against a server with its own PostgreSQL and Valkey.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { Code, WingmanError, connect, items } from "../src/index.js";
import type { Reason, Wingman } from "../src/index.js";
import { MatchEventKind, MatchResponse, MatchState } from "../src/matching.js";
import { join } from "./people.js";
import { Served, temporaryFolder } from "./served.js";

const folder = temporaryFolder();
let server: Served;
let client: Wingman;

before(async () => {
  server = await Served.start(folder);
  client = connect(server.address);
});

after(async () => {
  client.close();
  await server.stop();
});

async function failure(call: Promise<unknown>): Promise<WingmanError> {
  return call.then(
    () => assert.fail("the call succeeded"),
    (error: unknown) => {
      assert.ok(error instanceof WingmanError);
      return error;
    },
  );
}

test("two people match", async () => {
  const [ada, ben] = [await join(client, "Ada", 48.2), await join(client, "Ben", 48.21)];
  const { candidates } = await client.matching.listCandidates({ userId: ada, radiusMiles: 10 });
  assert.deepEqual(candidates.map(({ firstName }) => firstName), ["Ben"]);
  const { match } = await client.matching.requestMatch({ userId: ada, venueSuggestion: "the park" });
  assert.ok(match);
  const answer = { matchId: match.id, userId: ben, response: MatchResponse.ACCEPT };
  const { match: accepted } = await client.matching.respondToMatch(answer);
  assert.equal(accepted?.state, MatchState.ACCEPTED);
});

test("an error tells its reason, and what the reason speaks of", async () => {
  const userId = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0009";
  const error = await failure(client.matching.getProfile({ userId }));
  const reason: Reason = "PROFILE_NOT_FOUND";
  assert.equal(error.code, Code.NotFound);
  assert.equal(error.reason, reason);
  assert.deepEqual(error.metadata, { user_id: userId });
  assert.deepEqual(error.fieldViolations, []);
  assert.equal(error.message, "PROFILE_NOT_FOUND: no profile exists for this user_id");
});

test("an error names fields and rules", async () => {
  const error = await failure(client.matching.getProfile({ userId: "42" }));
  assert.equal(error.reason, "FIELD_INVALID");
  assert.deepEqual(error.fieldViolations, [
    { field: "user_id", description: "must be a valid UUID", rule: "string.uuid" },
  ]);
});

test("an error says when to come back", async () => {
  const userId = await join(client, "Dora", -48.2);
  let error: WingmanError;
  do {
    error = await failure(client.matching.requestMatch({ userId }));
  } while (error.reason === "NO_CANDIDATE");
  assert.equal(error.reason, "RATE_LIMITED");
  assert.equal(error.code, Code.ResourceExhausted);
  assert.equal(error.metadata["policy"], "match_request");
  assert.ok(error.retryAfterMs !== undefined && error.retryAfterMs > 0 && error.retryAfterMs <= 30_000);
});

test("a stream's error is of the same kind", async () => {
  const records = client.matching.exportProfile({ userId: "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0009" });
  const error = await failure(records[Symbol.asyncIterator]().next());
  assert.equal(error.reason, "PROFILE_NOT_FOUND");
});

test("the README's example runs", async () => {
  const [ada] = [await join(client, "Ada", -30), await join(client, "Ben", -30.01)];
  const example = resolve(import.meta.dirname, "../../examples/match.ts");
  const readme = readFileSync(resolve(import.meta.dirname, "../../README.md"), "utf8");
  assert.ok(readme.includes("```ts\n" + readFileSync(example, "utf8") + "```\n"));
  const program = resolve(import.meta.dirname, "../examples/match.js");
  const env = { ...process.env, WINGMANMATCH: server.address };
  const { stdout } = await promisify(execFile)(process.execPath, [program, ada], { env });
  assert.match(stdout, /^Ben is invited: (\S+)\n\1 1\n$/);
});

test("a list is read across its pages", async () => {
  const user = await join(client, "Eve", 10);
  for (const name of ["Finn", "Gus", "Hal"]) {
    await join(client, name, 10.01);
  }
  const names: string[] = [];
  for await (const { firstName } of items(client.matching.listCandidates, { userId: user, pageSize: 1 })) {
    names.push(firstName);
  }
  assert.deepEqual(names.sort(), ["Finn", "Gus", "Hal"]);
});

test("a server that is not there is UNAVAILABLE, without a reason", async () => {
  const nobody = connect("127.0.0.1:1", { maxAttempts: 2 });
  const error = await failure(nobody.system.getStatus({}));
  assert.equal(error.code, Code.Unavailable);
  assert.equal(error.reason, undefined);
  nobody.close();
});

test("a watch goes on where it was after the server was killed and started again", async () => {
  const [ada, ben] = [await join(client, "Ada", 30), await join(client, "Ben", 30.01)];
  const watch = client.watchMatches({ userId: ben, resumeToken: await currentToken(ben) });
  const { match } = await client.matching.requestMatch({ userId: ada, candidateUserId: ben });
  assert.equal((await watch.next()).value?.event.kind, MatchEventKind.REQUESTED);
  const next = watch.next();
  await server.stop("SIGKILL");
  server = await Served.start(folder, { GRPC_LISTEN: server.address });
  await client.matching.cancelMatch({ matchId: match?.id ?? "", userId: ada });
  assert.equal((await next).value?.event.kind, MatchEventKind.CANCELLED);
  await watch.return();
});

/** The token of a stream's first message, which says where the stream begins. */
async function currentToken(userId: string): Promise<string> {
  const controller = new AbortController();
  for await (const { resumeToken } of client.matching.watchMatches({ userId }, { signal: controller.signal })) {
    controller.abort();
    return resumeToken;
  }
  return assert.fail("the stream ended");
}
