// The client on Node against one real gateway with its embedded log.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { WsClusterError } from "../../src/index.js";
import { Cleanup, startGateway } from "../shared/processes.js";
import { Proxy } from "../shared/proxy.js";
import { connect } from "../shared/record.js";
import { until, within } from "../shared/until.js";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

/** A gateway behind a proxy that the test can cut. */
async function world(config: object = {}) {
  const gateway = await startGateway(cleanup, { config });
  const proxy = await Proxy.start(cleanup, gateway.port);
  return { gateway, proxy, direct: `ws://127.0.0.1:${gateway.port}/ws` };
}

test("what one client publishes another gets, in order", async () => {
  const { direct } = await world();
  const [writer, reader] = [connect(cleanup, direct), connect(cleanup, direct)];
  const room = reader.client.subscribe<number>("lobby");
  await room.ready;
  const ids = [];
  for (let number = 0; number < 50; number++) ids.push(await writer.client.publish("lobby", number));
  await reader.heard("message", 50);
  assert.deepEqual(reader.payloads("lobby"), Array.from({ length: 50 }, (_, index) => index));
  assert.deepEqual(reader.all("message").map(({ id }) => id), ids);
  assert.equal(room.cursor, ids.at(-1));
  assert.equal(reader.client.node, "gateway-a");
});

test("an iteration over a room ends when the room is left", async () => {
  const { direct } = await world();
  const { client } = connect(cleanup, direct);
  const room = client.subscribe<{ text: string }>("lobby");
  await room.ready;
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { payload } of room) {
      seen.push(payload.text);
      if (seen.length === 2) room.unsubscribe();
    }
  })();
  await room.publish({ text: "a" });
  await room.publish({ text: "b" });
  await within("the iteration ends", reading);
  assert.deepEqual(seen, ["a", "b"]);
});

test("a room begins where the application says", async () => {
  const { direct } = await world();
  const writer = connect(cleanup, direct);
  const ids = [await writer.client.publish("lobby", 1), await writer.client.publish("lobby", 2), await writer.client.publish("lobby", 3)];
  const all = connect(cleanup, direct);
  all.client.subscribe("lobby", { since: "0-0" });
  const rest = connect(cleanup, direct);
  rest.client.subscribe("lobby", { since: ids[1]! });
  await all.heard("message", 3);
  await rest.heard("message", 1);
  assert.deepEqual([all.payloads("lobby"), rest.payloads("lobby")], [[1, 2, 3], [3]]);
  const { messages, more } = await writer.client.history<number>("lobby", { before: ids[2]!, limit: 1 });
  assert.deepEqual([messages.map(({ id, payload }) => [id, payload]), more], [[[ids[1], 2]], true]);
});

test("after a cut network the room goes on from the cursor, and nothing is missing", async () => {
  const { proxy, direct, gateway } = await world();
  const [writer, reader] = [connect(cleanup, direct), connect(cleanup, proxy.url)];
  await reader.client.subscribe("lobby").ready;
  for (let round = 0; round < 5; round++) {
    await writer.client.publish("lobby", round * 2);
    proxy.cut();
    await reader.heard("disconnected", round + 1);
    await writer.client.publish("lobby", round * 2 + 1);
    proxy.target = gateway.port;
    await reader.heard("recovered", round + 1);
  }
  await reader.heard("message", 10);
  assert.deepEqual(reader.payloads("lobby"), Array.from({ length: 10 }, (_, index) => index));
  assert.deepEqual(reader.all("resync"), []);
});

test("publishes of a cut network are written once and in order, also when only the answer was lost", async () => {
  const { proxy, direct, gateway } = await world();
  const witness = connect(cleanup, direct);
  await witness.client.subscribe("lobby").ready;
  const { client, ...writer } = connect(cleanup, proxy.url);
  await client.publish("lobby", 0);
  proxy.swallowing = true;
  const answers = [client.publish("lobby", 1), client.publish("lobby", 2)];
  await witness.heard("message", 3);
  proxy.cut();
  await until("the writer knows", () => client.state !== "connected");
  answers.push(client.publish("lobby", 3), client.publish("lobby", 4));
  proxy.swallowing = false;
  proxy.target = gateway.port;
  const ids = await within("all are answered", Promise.all(answers));
  await witness.heard("message", 5);
  assert.deepEqual(witness.payloads("lobby"), [0, 1, 2, 3, 4]);
  assert.deepEqual(ids, witness.all("message").slice(1).map(({ id }) => id));
  assert.equal((await client.history("lobby")).messages.length, 5);
  assert.equal(writer.events.length > 0, true);
});

test("a path that is silent is left, within a heartbeat and a pong", async () => {
  const { proxy } = await world({ heartbeat: { intervalSeconds: 1, timeoutSeconds: 60 } });
  const reader = connect(cleanup, proxy.url, { pongTimeoutMs: 300 });
  await reader.client.subscribe("lobby").ready;
  proxy.swallowing = true;
  const { reason } = await reader.heard("disconnected");
  proxy.swallowing = false;
  assert.equal(reason, "no answer to a ping");
  await reader.heard("recovered");
});

test("what was trimmed while the network was cut is told as resync, not skipped in silence", async () => {
  const { proxy, direct, gateway } = await world({ streams: { trim: { strategy: "MaxLen", maxLen: 5, approximate: false } } });
  const [writer, reader] = [connect(cleanup, direct), connect(cleanup, proxy.url)];
  await reader.client.subscribe("lobby").ready;
  await writer.client.publish("lobby", -1);
  await reader.heard("message");
  proxy.cut();
  await reader.heard("disconnected");
  for (let number = 0; number < 20; number++) await writer.client.publish("lobby", number);
  proxy.target = gateway.port;
  await reader.heard("resync");
  await reader.heard("message", 6);
  assert.deepEqual(reader.payloads("lobby"), [-1, 15, 16, 17, 18, 19]);
  assert.deepEqual(reader.all("recovered"), []);
});

test("presence tells who comes and who goes", async () => {
  const { direct } = await world();
  const watcher = connect(cleanup, direct);
  const room = watcher.client.subscribe("lobby", { presence: true });
  await watcher.heard("presence");
  assert.deepEqual(room.members.map(({ session }) => session), [watcher.client.session]);
  const guest = connect(cleanup, direct);
  await guest.client.subscribe("lobby", { presence: true }).ready;
  await until("two are here", () => room.count === 2 && room.members.length === 2);
  assert.ok(room.members.some(({ session }) => session === guest.client.session));
  assert.equal((await watcher.client.presence("lobby")).count, 2);
  await guest.client.close();
  await until("one is here", () => room.count === 1 && room.members.length === 1);
});

test("a refused room and a refused publish name their code", async () => {
  const { direct } = await world({ auth: { anonymous: { subscribe: ["open:*"], publish: ["open:*"] } } });
  const { client, ...told } = connect(cleanup, direct);
  await assert.rejects(client.subscribe("secret").ready, { name: "WsClusterError", code: "forbidden" });
  await assert.rejects(client.publish("secret", 1), { code: "forbidden" });
  await client.subscribe("open:1").ready;
  assert.deepEqual([...client.rooms.keys()], ["open:1"]);
  assert.equal(told.events.some(({ type }) => type === "closed"), false);
});

test("at the gateway's limit a message passes, one byte more is refused before it is sent", async () => {
  const { direct } = await world({ limits: { maxMessageBytes: 1024 } });
  const { client } = connect(cleanup, direct);
  await client.publish("lobby", "x".repeat(800));
  await assert.rejects(client.publish("lobby", "x".repeat(1024)), { code: "too_large" });
  await client.publish("lobby", "still here");
});

test("a burst over the rate is slowed down, not lost", async () => {
  const { direct } = await world({ limits: { messagesPerSecond: 20, burst: 10 } });
  const { client } = connect(cleanup, direct);
  const ids = await within("all are written", Promise.all(Array.from({ length: 25 }, (_, number) => client.publish("lobby", number))));
  assert.equal(new Set(ids).size, 25);
});

test("a closed client says goodbye and holds nothing", async () => {
  const { gateway, direct } = await world();
  const { client, ...told } = connect(cleanup, direct);
  await client.subscribe("lobby").ready;
  await client.close();
  await until("the gateway holds nothing", async () => (await gateway.connections()) === 0);
  assert.deepEqual(told.events.at(-1)?.type, "closed");
  await assert.rejects(client.publish("lobby", 1), (error) => error instanceof WsClusterError && error.code === "closed");
});

test("an aborted signal closes the client, and ends a wait", async () => {
  const { proxy } = await world();
  proxy.cut();
  const [whole, one] = [new AbortController(), new AbortController()];
  const { client } = connect(cleanup, proxy.url, { signal: whole.signal });
  const publish = client.publish("lobby", 1, { signal: one.signal });
  one.abort();
  await assert.rejects(publish, { name: "AbortError" });
  const waiting = client.publish("lobby", 2);
  whole.abort();
  await assert.rejects(waiting, { code: "closed" });
  assert.equal(client.state, "closed");
});
