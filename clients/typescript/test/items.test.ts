import assert from "node:assert/strict";
import { test } from "node:test";

import type { ConnectRouter } from "@connectrpc/connect";

import { items } from "../src/index.js";
import * as challenge from "../src/challenge.js";
import * as matching from "../src/matching.js";
import { MatchState, MatchingService } from "../src/matching.js";
import * as meetup from "../src/meetup.js";
import * as notification from "../src/notification.js";
import * as session from "../src/session.js";
import { withClient } from "./scripted.js";

const USER = "5f0c1d0e-6c1e-4d7e-9a52-0f4b8c1f0001";

test("all pages are read, each when it is needed, an empty one too", async () => {
  const asked: string[] = [];
  const pages: Record<string, [string[], string]> = { "": [["a", "b"], "1"], "1": [[], "2"], "2": [["c"], ""] };
  const routes = (router: ConnectRouter) =>
    router.service(MatchingService, {
      listMatches: ({ pageToken, pageSize, states }) => {
        asked.push(pageToken);
        assert.deepEqual([pageSize, states], [2, [MatchState.PENDING]]);
        const [ids, nextPageToken] = pages[pageToken] ?? [[], ""];
        return { matches: ids.map((id) => ({ id })), nextPageToken };
      },
    });
  await withClient(routes, async (client) => {
    const list = items(client.listMatches, { userId: USER, states: [MatchState.PENDING], pageSize: 2 });
    assert.equal((await list.next()).value?.id, "a");
    assert.deepEqual(asked, [""]);
    const rest: string[] = [];
    for await (const { id } of list) {
      rest.push(id);
    }
    assert.deepEqual(rest, ["b", "c"]);
    assert.deepEqual(asked, ["", "1", "2"]);
  });
});

test("every list method lists one thing", () => {
  const services = [
    challenge.ChallengeService,
    matching.MatchingService,
    meetup.MeetupService,
    notification.NotificationService,
    session.SessionService,
  ];
  const lists = services
    .flatMap((service) => service.methods)
    .filter(({ input }) => input.fields.some(({ name }) => name === "page_token"));
  assert.ok(lists.length >= 7);
  for (const { output } of lists) {
    assert.equal(output.fields.filter(({ fieldKind }) => fieldKind === "list").length, 1, output.typeName);
  }
});
