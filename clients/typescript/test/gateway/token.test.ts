// Tokens from the application's callback to the wire, on Node, against a scripted gateway.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { TokenSource } from "../../src/index.js";
import { Cleanup } from "../shared/processes.js";
import { connect } from "../shared/record.js";
import { Scripted } from "../shared/scripted.js";
import { until } from "../shared/until.js";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** Good tokens without end: t1, t2, … */
function series(gateway: Scripted, lifeMs: number, told: boolean): TokenSource {
  let last = 0;
  return async () => {
    last += 1;
    gateway.good.set(`t${last}`, lifeMs);
    return told ? { token: `t${last}`, expiresAt: Date.now() + lifeMs } : `t${last}`;
  };
}

test("a token is refreshed before it expires, and the connection stays", async () => {
  const gateway = await Scripted.start(cleanup);
  const session = connect(cleanup, gateway.origin, { token: series(gateway, 1000, true) });
  await session.client.subscribe("lobby").ready;
  await until("four tokens were shown", () => gateway.shown.length >= 4);
  assert.deepEqual(gateway.shown.slice(0, 4), ["t1", "t2", "t3", "t4"]);
  assert.deepEqual([gateway.connections, session.all("disconnected"), gateway.early], [1, [], []]);
});

test("a token whose end nobody told is replaced when the gateway closes for it", async () => {
  const gateway = await Scripted.start(cleanup);
  const session = connect(cleanup, gateway.origin, { token: series(gateway, 100, false) });
  await session.client.subscribe("lobby").ready;
  assert.equal((await session.heard("disconnected")).code, 3000);
  await session.heard("recovered");
  assert.deepEqual(gateway.shown.slice(0, 2), ["t1", "t2"]);
});

test("a stale token is asked for once more, and the application is told so", async () => {
  const gateway = await Scripted.start(cleanup);
  gateway.good.set("fresh", 60_000);
  const session = connect(cleanup, gateway.origin, { token: ({ refused }) => (refused ? "fresh" : "stale") });
  await session.heard("connected");
  assert.deepEqual(gateway.shown, ["stale", "fresh"]);
});

test("a token that is refused twice ends the session", async () => {
  const gateway = await Scripted.start(cleanup);
  const session = connect(cleanup, gateway.origin, { token: () => "bad" });
  const waiting = session.client.publish("lobby", 1);
  const [closed] = await Promise.all([session.heard("closed"), assert.rejects(waiting, { code: "closed" })]);
  assert.deepEqual([closed.code, gateway.shown, gateway.early], [3000, ["bad", "bad"], []]);
});

test("a token that cannot be had now is asked for again", async () => {
  const gateway = await Scripted.start(cleanup);
  const tokens = series(gateway, 60_000, true);
  let failures = 2;
  const session = connect(cleanup, gateway.origin, {
    token: (ask) => {
      if (failures-- > 0) throw new Error("the token service is away");
      return tokens(ask);
    },
  });
  await session.heard("connected");
  assert.deepEqual(session.all("error").map(({ code, message }) => [code, message]), Array(2).fill(["token", "the token service is away"]));
});
