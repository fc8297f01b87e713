// Tokens in the core: when one is asked for, shown, refreshed, and what a refusal leads to.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Script } from "../shared/script.js";

const same: (actual: unknown, expected: unknown, message?: string) => void = assert.deepEqual;

function authenticated(expiresInMs?: number): Script {
  const script = new Script({ tokens: true });
  same(script.step({ type: "subscribe", room: "lobby", presence: false }), ["token"]);
  same(script.step({ type: "token", token: "t1", expiresInMs }), ["open 1"]);
  same(script.open(1, "a", { heartbeatMs: 0 }), ["send 1 auth t1"]);
  same(script.frame(1, { type: "ok", ref: 1 }), ["connected a", "send 1 subscribe lobby"]);
  return script;
}

test("a token is the first frame, and nothing is asked before it is taken", () => {
  authenticated();
});

test("a token is refreshed before it expires, on the connection that serves", () => {
  const script = authenticated(100_000);
  same(script.due, 70_000);
  same(script.wait(69_999), []);
  same(script.wait(1), ["token"]);
  same(script.step({ type: "token", token: "t2", expiresInMs: 100_000 }), ["send 1 auth t2"]);
  same(script.frame(1, { type: "ok", ref: 3 }), []);
  same(script.due, 70_000);
});

test("a short life is refreshed at its half", () => {
  same(authenticated(10_000).due, 5000);
});

test("a refresh that failed is tried again, and the session goes on", () => {
  const script = authenticated(10_000);
  same(script.wait(5000), ["token"]);
  same(script.step({ type: "tokenFailed", message: "offline" }), ["error token"]);
  assert.ok((script.due ?? 1e9) < 5000);
  same(script.wait(script.due ?? 0), ["token"]);
});

test("a token that lives serves the next connection too", () => {
  const script = authenticated(100_000);
  same(script.drain(1, 0, 5000), ["drain", "open 2"]);
  same(script.closed(1, 1012), ["disconnected 1012 announced"]);
  same(script.open(2, "b"), ["send 2 auth t1"]);
});

test("a token of unknown life is asked for before each connection", () => {
  const script = authenticated();
  same(script.closed(1, 1006), ["disconnected 1006", "token"]);
  same(script.step({ type: "tokenFailed", message: "offline" }), ["error token", "token"]);
  same(script.step({ type: "token", token: "t2" }), ["open 2"]);
});

test("an expired token is replaced, and the session goes on", () => {
  const script = authenticated(100_000);
  same(script.closed(1, 3000), ["disconnected 3000", "token"]);
});

test("a refused token is replaced once", () => {
  const script = new Script({ tokens: true });
  script.wait(0);
  script.step({ type: "token", token: "stale", expiresInMs: 100_000 });
  same(script.open(1, "a"), ["send 1 auth stale"]);
  same(script.closed(1, 3000), ["token refused"]);
  same(script.step({ type: "token", token: "stale too" }), ["open 2"]);
  script.open(2, "a");
  same(script.closed(2, 3000), ["closed"]);
});

test("a gateway that does not take the token in time is left", () => {
  const script = new Script({ tokens: true });
  script.wait(0);
  script.step({ type: "token", token: "t" });
  script.open(1, "a");
  same(script.wait(10_000), ["abort 1", "token"]);
});
