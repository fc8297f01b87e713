// Tokens from the application's callback to a real gateway that checks them.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { TokenSource } from "../../src/index.js";
import { Cleanup, type Gateway } from "../shared/processes.js";
import { connect } from "../shared/record.js";
import { startGuarded, tokenFor } from "../shared/tokens.js";
import { until } from "../shared/until.js";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

const url = ({ port }: Gateway) => `ws://127.0.0.1:${port}/ws`;

/** A source, and what it was asked. */
function counted(give: (number: number) => Awaited<ReturnType<TokenSource>>): { token: TokenSource; asked: boolean[] } {
  const asked: boolean[] = [];
  const token: TokenSource = ({ refused }) => {
    asked.push(refused);
    return give(asked.length);
  };
  return { token, asked };
}

test("a token is shown in the first frame, and allows what it says", async () => {
  const gateway = await startGuarded(cleanup);
  const { token, asked } = counted(() => tokenFor("lobby", 60));
  const session = connect(cleanup, url(gateway), { token });
  const lobby = session.client.subscribe("lobby");
  await lobby.ready;
  await lobby.publish({ x: 1 });
  await session.heard("message");
  await assert.rejects(session.client.subscribe("secret").ready, { code: "forbidden" });
  await assert.rejects(session.client.publish("secret", 1), { code: "forbidden" });
  assert.deepEqual([asked, session.all("disconnected")], [[false], []]);
});

test("a token is refreshed before it ends, and the connection stays beyond the end of the first", async () => {
  const gateway = await startGuarded(cleanup);
  const ends: number[] = [];
  const { token, asked } = counted(() => {
    ends.push(Math.floor(Date.now() / 1000) * 1000 + 3000);
    return tokenFor("lobby", 3);
  });
  const session = connect(cleanup, url(gateway), { token });
  await session.client.subscribe("lobby").ready;
  await until("the first two have ended", () => ends.length > 2 && Date.now() > ends[1]! + 500);
  await session.client.publish("lobby", 1);
  await session.heard("message");
  assert.deepEqual([session.all("connected").length, session.all("disconnected")], [1, []]);
  assert.ok(asked.every((refused) => !refused));
});

test("a token that ends earlier than the application thinks is replaced when the gateway closes for it", async () => {
  const gateway = await startGuarded(cleanup);
  const { token, asked } = counted((number) => ({ token: tokenFor("lobby", number === 1 ? 2 : 60), expiresAt: Date.now() + 60_000 }));
  const session = connect(cleanup, url(gateway), { token });
  await session.client.subscribe("lobby").ready;
  await session.client.publish("lobby", 1);
  assert.equal((await session.heard("disconnected")).code, 3000);
  await session.heard("recovered");
  await session.client.publish("lobby", 2);
  await session.heard("message", 2);
  assert.deepEqual([session.payloads("lobby"), asked.length], [[1, 2], 2]);
});

test("a stale token is asked for once more, and the application is told so", async () => {
  const gateway = await startGuarded(cleanup);
  const { token, asked } = counted((number) => tokenFor("lobby", number === 1 ? -5 : 60));
  const session = connect(cleanup, url(gateway), { token: async (ask) => ({ token: String(await token(ask)), expiresAt: Date.now() + 60_000 }) });
  await session.client.subscribe("lobby").ready;
  assert.deepEqual(asked, [false, true]);
});

test("a forged token ends the session", async () => {
  const gateway = await startGuarded(cleanup);
  const { token, asked } = counted(() => tokenFor("lobby", 60, "guessed"));
  const session = connect(cleanup, url(gateway), { token });
  const waiting = session.client.publish("lobby", 1);
  const [closed] = await Promise.all([session.heard("closed"), assert.rejects(waiting, { code: "closed" })]);
  assert.deepEqual([closed.code, asked], [3000, [false, true]]);
  await until("it has let go", async () => (await gateway.connections()) === 0);
});
