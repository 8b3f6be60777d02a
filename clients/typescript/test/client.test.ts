import assert from "node:assert/strict";
import { test } from "node:test";

import { Code } from "@connectrpc/connect";
import type { ConnectRouter } from "@connectrpc/connect";

import { ExportRecordKind, MatchingService } from "../src/matching.js";
import { withClient } from "./scripted.js";

const USER = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0001";

/** A stream that goes on until its caller ends it; `ended` counts those that were. */
function endless(ended: { count: number; all: Promise<void>[] }) {
  return (router: ConnectRouter) =>
    router.service(MatchingService, {
      exportProfile: async function* (_request, { signal }) {
        const end = new Promise<void>((resolve) => { signal.addEventListener("abort", () => { resolve(); }); });
        ended.count++;
        ended.all.push(end);
        yield { kind: ExportRecordKind.PROFILE };
        await end;
      },
    });
}

test("leaving the loop over a stream ends the call", async () => {
  const ended = { count: 0, all: [] };
  await withClient(endless(ended), async (client) => {
    for await (const { kind } of client.exportProfile({ userId: USER })) {
      assert.equal(kind, ExportRecordKind.PROFILE);
      break;
    }
    await Promise.all(ended.all);
  });
  assert.equal(ended.count, 1);
  assert.ok(!process.getActiveResourcesInfo().includes("Timeout"));
});

test("the caller's signal ends a stream with CANCELLED", async () => {
  const ended = { count: 0, all: [] };
  const controller = new AbortController();
  await withClient(endless(ended), async (client) => {
    await assert.rejects(
      async () => {
        for await (const record of client.exportProfile({ userId: USER }, { signal: controller.signal })) {
          assert.ok(record);
          controller.abort();
        }
      },
      { code: Code.Canceled },
    );
    await Promise.all(ended.all);
  });
  assert.equal(ended.count, 1);
});

test("a stream is called when it is read", async () => {
  const ended = { count: 0, all: [] };
  await withClient(endless(ended), async (client) => {
    client.exportProfile({ userId: USER });
    await Promise.resolve();
  });
  assert.equal(ended.count, 0);
});
