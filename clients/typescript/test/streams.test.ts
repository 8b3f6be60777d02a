import assert from "node:assert/strict";
import { test } from "node:test";

import { createRouterTransport } from "@connectrpc/connect";

import { MatchingService } from "../src/matching.js";
import { clientOf } from "../src/client.js";
import { MOST_STREAMS, withConnectionsForStreams } from "../src/streams.js";

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) {
    await new Promise((resolve) => { setImmediate(resolve); });
  }
};

const USER = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0001";

test("streams have connections of their own, and one that ended makes room", async () => {
  const open = new Map<number, number>();
  let connections = 0;
  const transport = withConnectionsForStreams(() => {
    const connection = connections++;
    return createRouterTransport(({ service }) =>
      service(MatchingService, {
        async *watchMatches(_request, { signal }) {
          open.set(connection, (open.get(connection) ?? 0) + 1);
          yield { resumeToken: "here" };
          await new Promise((resolve) => { signal.addEventListener("abort", resolve); });
        },
        getProfile: () => ({ profile: { bio: String(connection) } }),
      }),
    );
  });
  const client = clientOf(MatchingService, transport);
  const watch = async () => {
    const messages = client.watchMatches({ userId: USER })[Symbol.asyncIterator]();
    await messages.next();
    return messages;
  };
  const watches = [];
  for (let count = 0; count <= MOST_STREAMS; count++) {
    watches.push(await watch());
  }
  assert.deepEqual([...open], [[1, MOST_STREAMS], [2, 1]]);
  await watches[0]?.return?.();
  await turns(20); // in which the end of the stream becomes known
  watches.push(await watch());
  assert.deepEqual([...open], [[1, MOST_STREAMS + 1], [2, 1]]);
  assert.equal((await client.getProfile({ userId: USER })).profile?.bio, "0");
  await Promise.all(watches.map((messages) => messages.return?.()));
});
