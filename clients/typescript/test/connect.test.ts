import assert from "node:assert/strict";
import { test } from "node:test";

import { originOf } from "../src/connect.js";

test("TLS is used to other machines, and where it is asked for", () => {
  assert.equal(originOf("wingman.example.com:50051", {}), "https://wingman.example.com:50051");
  assert.equal(originOf("wingman.example.com:80", { apiKey: "wmk_1" }), "https://wingman.example.com:80");
  assert.equal(originOf("wingman.example.com:50051", { tls: false }), "http://wingman.example.com:50051");
  assert.equal(originOf("http://wingman.example.com", {}), "http://wingman.example.com");
  assert.equal(originOf("localhost:50051", { tls: { ca: "" } }), "https://localhost:50051");
  for (const address of ["localhost:50051", "127.0.0.1:50051", "[::1]:50051"]) {
    assert.equal(originOf(address, { apiKey: "wmk_1" }), `http://${address}`);
  }
});

test("a key goes to another machine without TLS only where that is asked for", () => {
  assert.throws(() => originOf("http://wingman.example.com", { apiKey: "wmk_1" }), TypeError);
  const asked = { apiKey: "wmk_1", tls: false };
  assert.equal(originOf("http://wingman.example.com", asked), "http://wingman.example.com");
  assert.equal(originOf("wingman.example.com:50051", asked), "http://wingman.example.com:50051");
});

test("an address that says one thing and options that say another are refused", () => {
  assert.throws(() => originOf("http://localhost:50051", { tls: true }), TypeError);
  assert.throws(() => originOf("https://localhost:50051", { tls: false }), TypeError);
  assert.throws(() => originOf("ftp://localhost:50051", {}), TypeError);
});
