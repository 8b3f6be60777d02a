import assert from "node:assert/strict";
import { test } from "node:test";

import { MethodOptions_IdempotencyLevel as Idempotency } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import type { ConnectRouter, HandlerContext, Transport } from "@connectrpc/connect";

import { RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { ChallengeService } from "../src/challenge.js";
import { CoachingService } from "../src/coaching.js";
import { MatchingService } from "../src/matching.js";
import { MeetupService } from "../src/meetup.js";
import { NotificationService } from "../src/notification.js";
import { RateLimitService } from "../src/rate-limit.js";
import { SessionService } from "../src/session.js";
import { SystemService } from "../src/system.js";
import { obliging } from "../src/transport.js";
import { WingmanError } from "../src/index.js";
import { Held, withClient } from "./scripted.js";

const USER = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0001";

function failing(codes: (Code | string)[], requestIds: string[] = [], timeouts: (string | null)[] = []) {
  return (router: ConnectRouter) =>
    router.service(MatchingService, {
      requestMatch: ({ requestId }, { requestHeader }: HandlerContext) => {
        requestIds.push(requestId);
        timeouts.push(requestHeader.get("grpc-timeout"));
        const next = codes.shift();
        if (typeof next === "string") {
          throw new ConnectError("away", Code.Unavailable, { "grpc-retry-pushback-ms": next });
        }
        if (next !== undefined) {
          throw new ConnectError("away", next);
        }
        return { match: { id: "m" } };
      },
    });
}

test("a call is repeated while the server is unavailable, and is one call to it", async () => {
  const requestIds: string[] = [];
  await withClient(failing([Code.Unavailable, Code.Unavailable], requestIds), async (client, runtime) => {
    assert.equal((await client.requestMatch({ userId: USER })).match?.id, "m");
    assert.deepEqual(runtime.waits, [50, 100]);
  });
  assert.equal(requestIds.length, 3);
  assert.equal(new Set(requestIds).size, 1);
  assert.match(requestIds[0] ?? "", /^[0-9a-f]{8}-[0-9a-f]{4}-4/);
});

test("two calls are two requests, and a given request_id is kept", async () => {
  const requestIds: string[] = [];
  await withClient(failing([], requestIds), async (client) => {
    const request = { userId: USER };
    await client.requestMatch(request);
    await client.requestMatch(request);
    await client.requestMatch({ ...request, requestId: USER });
    assert.deepEqual(request, { userId: USER });
  });
  assert.equal(new Set(requestIds).size, 3);
  assert.equal(requestIds[2], USER);
});

test("the error of a call tells what it was sent with", async () => {
  const requestIds: string[] = [];
  await withClient(failing([Code.Internal], requestIds), async (client) => {
    const error: unknown = await client.requestMatch({ userId: USER }).catch((thrown: unknown) => thrown);
    assert.ok(error instanceof WingmanError);
    assert.equal(error.requestId, requestIds[0]);
    await client.requestMatch({ userId: USER, ...(error.requestId && { requestId: error.requestId }) });
    assert.equal(requestIds[1], requestIds[0]);
  });
});

test("pushback says how long to wait", async () => {
  await withClient(failing(["1700"]), async (client, runtime) => {
    await client.requestMatch({ userId: USER });
    assert.deepEqual(runtime.waits, [1700]);
  });
});

test("the wait is not shorter than what the server's details ask for", async () => {
  let calls = 0;
  const retryDelay = { seconds: 3n };
  const routes = (router: ConnectRouter) =>
    router.service(MatchingService, {
      getProfile: () => {
        if (++calls === 1) {
          throw new ConnectError("open", Code.Unavailable, {}, [{ desc: RetryInfoSchema, value: { retryDelay } }]);
        }
        return {};
      },
    });
  await withClient(routes, async (client, runtime) => {
    await client.getProfile({ userId: USER });
    assert.deepEqual(runtime.waits, [3050]);
  });
});

for (const [what, codes] of [
  ["pushback forbids it", ["-1"]],
  ["pushback leads past the deadline", ["10001"]],
  ["it failed for another cause", [Code.Internal]],
  ["its limit is spent", [Code.ResourceExhausted]],
  ["four attempts failed", [Code.Unavailable, Code.Unavailable, Code.Unavailable, Code.Unavailable]],
] as const) {
  test(`a call is not repeated when ${what}`, async () => {
    const left = [...codes];
    await withClient(failing(left), async (client) => {
      await assert.rejects(client.requestMatch({ userId: USER }), (error) => error instanceof WingmanError);
    });
    assert.deepEqual(left, []);
  });
}

test("a method that does not say that it may be repeated is not", async () => {
  const unsafe = { ...MatchingService.method.requestMatch, idempotency: Idempotency.IDEMPOTENCY_UNKNOWN };
  const away: Transport = {
    unary: () => Promise.reject(new ConnectError("away", Code.Unavailable)),
    stream: () => assert.fail("not a stream"),
  };
  const runtime = new Held();
  const call = obliging(away, 4, runtime).unary(unsafe, undefined, undefined, undefined, { userId: USER });
  await assert.rejects(call, { code: Code.Unavailable });
  assert.deepEqual(runtime.waits, []);
});

test("every method of the API that is not a stream may be repeated", () => {
  const services = [ChallengeService, CoachingService, MatchingService, MeetupService, NotificationService];
  for (const service of [...services, RateLimitService, SessionService, SystemService]) {
    for (const { name, methodKind, idempotency } of service.methods) {
      assert.ok(methodKind !== "unary" || idempotency !== Idempotency.IDEMPOTENCY_UNKNOWN, name);
    }
  }
});

test("a stream is not repeated", async () => {
  let calls = 0;
  const routes = (router: ConnectRouter) =>
    router.service(MatchingService, {
      exportProfile: () => {
        calls++;
        throw new ConnectError("away", Code.Unavailable);
      },
    });
  await withClient(routes, async (client) => {
    await assert.rejects(async () => {
      for await (const record of client.exportProfile({ userId: USER })) {
        assert.fail(String(record));
      }
    }, WingmanError);
  });
  assert.equal(calls, 1);
});

test("a call has its method's deadline, unless it brings one", async () => {
  const timeouts: (string | null)[] = [];
  await withClient(failing([Code.Unavailable], [], timeouts), async (client) => {
    await client.requestMatch({ userId: USER });
    await client.requestMatch({ userId: USER }, { timeoutMs: 700 });
    await client.requestMatch({ userId: USER }, { timeoutMs: 0 });
  });
  assert.deepEqual(timeouts, ["10000m", "9950m", "700m", null]);
});

test("an aborted call is not repeated", async () => {
  const controller = new AbortController();
  await withClient(failing([Code.Unavailable, Code.Unavailable]), async (client, runtime) => {
    runtime.sleep = (_ms, signal) => {
      controller.abort();
      return Promise.reject(signal?.reason as Error);
    };
    const call = client.requestMatch({ userId: USER }, { signal: controller.signal });
    await assert.rejects(call, (error) => error instanceof WingmanError && error.code === Code.Canceled);
  });
});
