// The small pure parts: ids, delays, close codes, tokens, frames, options.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ceilingMs, delayMs } from "../../src/backoff.js";
import { afterClose } from "../../src/close.js";
import { readFrame, withRef, writeBody } from "../../src/frame.js";
import { compareIds, isMessageId } from "../../src/id.js";
import { choose, type SocketConstructor } from "../../src/options.js";
import { readToken } from "../../src/token.js";
import { Chance } from "../shared/chance.js";

test("ids are ordered as numbers not as text", () => {
  const table: [string, string, number][] = [
    ["9-1", "10-0", -1],
    ["10-9", "10-10", -1],
    ["7", "7-0", 0],
    ["18446744073709551615-1", "18446744073709551614-2", 1],
    ["1764000000000-0", "1764000000000-0", 0],
  ];
  for (const [a, b, sign] of table) {
    assert.equal(Math.sign(compareIds(a, b)), sign, `${a} and ${b}`);
    assert.equal(Math.sign(compareIds(b, a)), sign === 0 ? 0 : -sign, `${b} and ${a}`);
  }
});

test("what is not an id is told apart", () => {
  for (const text of ["", "-", "1-", "-1", "a-1", "1-2-3", "$", 5, undefined]) assert.equal(isMessageId(text), false, String(text));
  for (const text of ["0-0", "7", "1764000000000-3"]) assert.equal(isMessageId(text), true, text);
});

test("the ceiling of a delay doubles until the maximum", () => {
  const backoff = { baseMs: 100, maxMs: 1000 };
  assert.deepEqual([0, 1, 2, 3, 4, 1000].map((failures) => ceilingMs(backoff, failures)), [100, 200, 400, 800, 1000, 1000]);
});

test("delays spread over the whole range", () => {
  const chance = new Chance(7);
  const deciles = new Array<number>(10).fill(0);
  for (let draw = 0; draw < 10_000; draw++) {
    const decile = Math.floor(delayMs({ baseMs: 1000, maxMs: 1000 }, 0, chance.fraction()) / 100);
    deciles[decile] = (deciles[decile] ?? 0) + 1;
  }
  for (const count of deciles) assert.ok(count > 800 && count < 1200, String(deciles));
});

test("every close code of the protocol has its answer", () => {
  const table = {
    never: [1000, 1002, 1003, 1007, 1010, 3003],
    soon: [1001, 1012],
    backoff: [1005, 1006, 1009, 1011, 1013, 3008, 4408, 4999],
    token: [3000],
  };
  for (const [retry, codes] of Object.entries(table)) {
    for (const code of codes) assert.equal(afterClose(code), retry, String(code));
  }
});

test("a token lives as long as the application says, or as it says itself", () => {
  const claims = Buffer.from(JSON.stringify({ sub: "zoë?>", exp: 100 })).toString("base64url");
  const jwt = `e30.${claims}.sig`;
  assert.deepEqual(readToken(jwt, 40_000), { token: jwt, expiresInMs: 60_000 });
  assert.deepEqual(readToken({ token: jwt, expiresAt: 50_000 }, 40_000), { token: jwt, expiresInMs: 10_000 });
  assert.deepEqual(readToken(jwt, 200_000), { token: jwt, expiresInMs: 0 });
  for (const opaque of ["opaque", "a.b.c", "a.e30.c", "a.bnVsbA.c"]) assert.equal(readToken(opaque, 0).expiresInMs, undefined, opaque);
  assert.throws(() => readToken("", 0), TypeError);
});

test("requests are written as the protocol says", () => {
  const written = (frame: Parameters<typeof writeBody>[0]) => JSON.parse(withRef(writeBody(frame), 7)) as unknown;
  const publish = { type: "publish", room: 'a"b', payload: { x: [1] }, idempotencyKey: "k" } as const;
  assert.deepEqual(written(publish), { ...publish, ref: 7 });
  assert.deepEqual(written({ type: "subscribe", room: "lobby", since: undefined, presence: undefined }), { type: "subscribe", ref: 7, room: "lobby" });
  assert.deepEqual(written({ type: "ping" }), { type: "ping", ref: 7 });
});

test("what is no frame is told apart", () => {
  for (const text of ["", "{", "null", "1", "[]", "{}", '{"type":1}', '{"type":"message","id":"x"}']) assert.equal(readFrame(text), undefined, text);
  assert.equal(readFrame('{"type":"message","id":"5-1","new":true}')?.id, "5-1");
});

test("a bad option is named with its remedy", () => {
  const WebSocket = class {} as unknown as SocketConstructor;
  const cases: [string, object, RegExp][] = [
    ["/ws", {}, /^url: .*use wss:/],
    ["ftp://host/ws", {}, /^url: .*wrong scheme/],
    ["ws://host/ws", { maxQueued: 0 }, /^maxQueued: 0/],
    ["ws://host/ws", { connectTimeoutMs: "5" }, /^connectTimeoutMs: 5/],
    ["ws://host/ws", { backoff: { baseMs: -1 } }, /^backoff.baseMs: -1/],
  ];
  for (const [url, options, fault] of cases) assert.throws(() => choose(url, { WebSocket, ...options }), { name: "TypeError", message: fault });
  assert.equal(choose("https://host/ws#x", { WebSocket }).url, "wss://host/ws");
});
