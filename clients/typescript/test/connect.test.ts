import assert from "node:assert/strict";
import { test } from "node:test";

import { connect } from "../src/index.js";

test("a key does not leave the machine without TLS, unless that is asked for", () => {
  assert.throws(() => connect("wingman.example.com:50051", { apiKey: "wmk_1" }), TypeError);
  assert.throws(() => connect("http://wingman.example.com", { apiKey: "wmk_1" }), TypeError);
  connect("wingman.example.com:50051", { apiKey: "wmk_1", tls: false }).close();
  connect("wingman.example.com:50051", { apiKey: "wmk_1", tls: true }).close();
  connect("https://wingman.example.com", { apiKey: "wmk_1" }).close();
  for (const address of ["localhost:50051", "127.0.0.1:50051", "[::1]:50051"]) {
    connect(address, { apiKey: "wmk_1" }).close();
  }
});

test("an address that says one thing and options that say another are refused", () => {
  assert.throws(() => connect("http://localhost:50051", { tls: true }), TypeError);
  assert.throws(() => connect("https://localhost:50051", { tls: false }), TypeError);
  assert.throws(() => connect("ftp://localhost:50051"), TypeError);
});
