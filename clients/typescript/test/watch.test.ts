import assert from "node:assert/strict";
import { test } from "node:test";

import { Code, ConnectError } from "@connectrpc/connect";
import type { ConnectRouter } from "@connectrpc/connect";

import { MatchEventKind, MatchingService } from "../src/matching.js";
import type { WatchMatchesRequest } from "../src/matching.js";
import { watchMatches } from "../src/watch.js";
import { withClient } from "./scripted.js";

const USER = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0001";

const event = (resumeToken: string) => ({ event: { kind: MatchEventKind.REQUESTED }, resumeToken });

type Script = (request: WatchMatchesRequest, signal: AbortSignal) => AsyncIterable<object>;

function scripted(tokens: string[], ...scripts: Script[]) {
  return (router: ConnectRouter) =>
    router.service(MatchingService, {
      watchMatches: (request, { signal }) => {
        tokens.push(request.resumeToken);
        const script = scripts.shift();
        assert.ok(script);
        return script(request, signal);
      },
    });
}

async function* silence(signal: AbortSignal): AsyncGenerator<object> {
  if (!signal.aborted) {
    await new Promise((resolve) => { signal.addEventListener("abort", resolve); });
  }
  yield* [];
}

test("a broken stream is resumed after its last message, heartbeats included", async () => {
  const tokens: string[] = [];
  const routes = scripted(
    tokens,
    async function* () {
      yield event("a");
      yield { resumeToken: "b" };
      throw new ConnectError("stopping", Code.Unavailable);
    },
    async function* () {
      throw new ConnectError("stopping", Code.Unavailable, { "grpc-retry-pushback-ms": "40" });
      yield {};
    },
    async function* () {
      yield event("c");
    },
    async function* (_request, signal) {
      yield event("d");
      yield* silence(signal);
    },
  );
  await withClient(routes, async (client, runtime) => {
    const seen: string[] = [];
    for await (const { resumeToken } of watchMatches(client, { userId: USER }, {}, runtime)) {
      seen.push(resumeToken);
      if (resumeToken === "d") {
        break;
      }
    }
    assert.deepEqual(seen, ["a", "c", "d"]);
    assert.deepEqual(runtime.waits, [50, 40]);
  });
  assert.deepEqual(tokens, ["", "b", "b", "c"]);
});

test("leaving the loop ends the call, and so does the signal, without an error", async () => {
  const ended: Promise<void>[] = [];
  const script: Script = async function* (_request, signal) {
    ended.push(new Promise((resolve) => { signal.addEventListener("abort", () => { resolve(); }); }));
    yield event("a");
    yield* silence(signal);
  };
  await withClient(scripted([], script, script), async (client) => {
    for await (const { resumeToken } of watchMatches(client, { userId: USER })) {
      assert.equal(resumeToken, "a");
      break;
    }
    const controller = new AbortController();
    for await (const { resumeToken } of watchMatches(client, { userId: USER }, { signal: controller.signal })) {
      assert.equal(resumeToken, "a");
      controller.abort();
    }
    await Promise.all(ended);
  });
  assert.equal(ended.length, 2);
});

test("a connection that fell silent is given up and resumed", async () => {
  const tokens: string[] = [];
  const routes = scripted(
    tokens,
    async function* (_request, signal) {
      yield event("a");
      yield* silence(signal);
    },
    async function* () {
      yield event("b");
    },
  );
  await withClient(routes, async (client) => {
    for await (const { resumeToken } of watchMatches(client, { userId: USER }, { idleTimeoutMs: 100 })) {
      if (resumeToken === "b") {
        break;
      }
    }
  });
  assert.deepEqual(tokens, ["", "a"]);
});

test("what no resumption helps is thrown", async () => {
  const routes = scripted([], async function* () {
    throw new ConnectError("no such person", Code.NotFound);
    yield {};
  });
  await withClient(routes, async (client) => {
    await assert.rejects(watchMatches(client, { userId: USER }).next(), { code: Code.NotFound });
  });
});
