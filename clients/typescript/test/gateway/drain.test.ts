// The client on Node against real gateways joined by one Redis: a drain moves it without a gap.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { Cleanup, startGateway, startRedis } from "../shared/processes.js";
import { Proxy } from "../shared/proxy.js";
import { connect } from "../shared/record.js";
import { until, within } from "../shared/until.js";

const cleanup = new Cleanup();
afterEach(() => cleanup.run());

async function fleet(config: object = {}) {
  const redisPort = await startRedis(cleanup);
  const a = await startGateway(cleanup, { node: "gateway-a", redisPort, config });
  const b = await startGateway(cleanup, { node: "gateway-b", redisPort, config });
  const c = await startGateway(cleanup, { node: "gateway-c", redisPort, config });
  return { a, b, c, balancer: await Proxy.start(cleanup, a.port) };
}

test("a drain moves a session in mid-stream: nothing lost, nothing twice, in order", async () => {
  const { a, b, balancer } = await fleet();
  const writer = connect(cleanup, `ws://127.0.0.1:${b.port}/ws`);
  const reader = connect(cleanup, balancer.url);
  await Promise.all([reader.client.subscribe("lobby").ready, reader.client.subscribe("news").ready]);
  let [sent, writing] = [0, true];
  const flow = (async () => {
    for (; writing; sent++) await Promise.all([writer.client.publish("lobby", sent), writer.client.publish("news", sent)]);
  })();
  await reader.heard("message", 20);
  balancer.target = b.port;
  await a.drain({ timeoutSeconds: 30 });
  const { from, to } = await reader.heard("moved");
  const upTo = sent + 10;
  await until("more was written", () => sent >= upTo);
  writing = false;
  await flow;
  await reader.heard("message", sent * 2);
  const expected = Array.from({ length: sent }, (_, index) => index);
  assert.deepEqual(reader.payloads("lobby"), expected);
  assert.deepEqual(reader.payloads("news"), expected);
  assert.deepEqual([from, to, reader.client.node], ["gateway-a", "gateway-b", "gateway-b"]);
  assert.deepEqual([reader.all("disconnected"), reader.all("resync")], [[], []]);
  assert.equal(reader.all("recovered").length, 2);
  await until("the old gateway is empty", async () => (await a.connections()) === 0);
});

test("publishes go on through a drain, each written once and in order", async () => {
  const { a, b, balancer } = await fleet({ limits: { messagesPerSecond: 100_000, burst: 100_000 } });
  const witness = connect(cleanup, `ws://127.0.0.1:${b.port}/ws`);
  await witness.client.subscribe("lobby").ready;
  const { client, ...writer } = connect(cleanup, balancer.url);
  const answers: Promise<string>[] = [];
  let moved = false;
  client.on("moved", () => {
    moved = true;
  });
  await client.publish("lobby", -1);
  balancer.target = b.port;
  await a.drain({ timeoutSeconds: 30 });
  await until("the session has moved", async () => {
    answers.push(client.publish("lobby", answers.length));
    return moved;
  });
  answers.push(client.publish("lobby", answers.length));
  await within("all are answered", Promise.all(answers));
  await witness.heard("message", answers.length + 1);
  assert.deepEqual(witness.payloads("lobby"), [-1, ...answers.keys()]);
  assert.equal(writer.events.filter(({ type }) => type === "disconnected").length, 0);
});

test("sent back to the gateway that it leaves, a session stays and tries again", async () => {
  const { a, b, balancer } = await fleet();
  const reader = connect(cleanup, balancer.url);
  await reader.client.subscribe("lobby").ready;
  await a.drain({ timeoutSeconds: 60 });
  await reader.heard("drain");
  await until("it was sent back three times", async () => balancer.accepted >= 4);
  assert.deepEqual([reader.client.node, reader.all("moved"), reader.all("disconnected")], ["gateway-a", [], []]);
  await reader.client.publish("lobby", 1);
  await reader.heard("message");
  balancer.target = b.port;
  await reader.heard("moved");
  await until("the old gateway is empty", async () => (await a.connections()) === 0);
  assert.deepEqual([reader.all("moved").length, reader.all("disconnected"), reader.all("resync")], [1, [], []]);
});

test("a session does not move to a gateway that says drain at once", async () => {
  const { a, b, c, balancer } = await fleet();
  const reader = connect(cleanup, balancer.url);
  await Promise.all([reader.client.subscribe("lobby").ready, reader.client.subscribe("news").ready]);
  await b.drain({ timeoutSeconds: 60 });
  balancer.target = b.port;
  await a.drain({ timeoutSeconds: 60 });
  await until("it was turned back three times", async () => balancer.accepted >= 4);
  balancer.target = c.port;
  await reader.heard("moved");
  await until("the old gateway is empty", async () => (await a.connections()) === 0);
  assert.deepEqual(reader.all("moved").map(({ from, to }) => [from, to]), [["gateway-a", "gateway-c"]]);
  assert.deepEqual([reader.all("disconnected"), reader.all("resync")], [[], []]);
});

test("on a gateway that drains but has not said so, a session stays until it does", async () => {
  const { a, b, c, balancer } = await fleet({ drain: { minSeconds: 2 } });
  const reader = connect(cleanup, balancer.url);
  await reader.client.subscribe("lobby").ready;
  await a.drain({ timeoutSeconds: 60 });
  await reader.heard("drain");
  balancer.target = b.port;
  await b.drain({ timeoutSeconds: 60 });
  const told = Date.now();
  await reader.heard("moved");
  balancer.target = c.port;
  assert.ok(Date.now() - told < 2000, "it was there before it was told");
  await reader.heard("drain", 2);
  assert.ok(Date.now() - told >= 2000);
  await reader.heard("moved", 2);
  assert.deepEqual(reader.all("moved").map(({ from, to }) => [from, to]), [["gateway-a", "gateway-b"], ["gateway-b", "gateway-c"]]);
  assert.deepEqual([reader.all("disconnected"), reader.all("resync")], [[], []]);
});

test("a cancelled drain lets a session stay, and the next drain moves it", async () => {
  const { a, b, balancer } = await fleet();
  const reader = connect(cleanup, balancer.url);
  await reader.client.subscribe("lobby").ready;
  await a.drain({ timeoutSeconds: 60 });
  await until("it was sent back", async () => balancer.accepted >= 2);
  await a.cancelDrain();
  assert.equal((await reader.heard("drainCancelled")).node, "gateway-a");
  await until("it holds one connection", async () => (await a.connections()) === 1);
  assert.equal(reader.client.state, "connected");
  balancer.target = b.port;
  await a.drain({ timeoutSeconds: 60 });
  await reader.heard("moved");
  assert.deepEqual([reader.all("drain").length, reader.all("moved").length, reader.all("disconnected")], [2, 1, []]);
});

test("a gateway that dies is replaced, and the room goes on from the cursor", async () => {
  const { a, b, balancer } = await fleet();
  const writer = connect(cleanup, `ws://127.0.0.1:${b.port}/ws`);
  const reader = connect(cleanup, balancer.url);
  await reader.client.subscribe("lobby").ready;
  await writer.client.publish("lobby", 1);
  await reader.heard("message");
  balancer.target = b.port;
  await a.kill();
  await writer.client.publish("lobby", 2);
  await reader.heard("recovered");
  await reader.heard("message", 2);
  assert.deepEqual(reader.payloads("lobby"), [1, 2]);
  assert.equal(reader.client.node, "gateway-b");
});

test("presence is whole after a move: the members of both gateways, each once", async () => {
  const { a, b, balancer } = await fleet();
  const other = connect(cleanup, `ws://127.0.0.1:${b.port}/ws`);
  const mover = connect(cleanup, balancer.url);
  const room = mover.client.subscribe("lobby", { presence: true });
  other.client.subscribe("lobby", { presence: true });
  await until("two are here", () => room.count === 2);
  balancer.target = b.port;
  await a.drain({ timeoutSeconds: 30 });
  await mover.heard("moved");
  const sessions = () => room.members.map(({ session }) => session).sort();
  const expected = [mover.client.session, other.client.session].sort();
  await until("the two are here", () => room.count === 2 && String(sessions()) === String(expected));
});
