// The client in a real tab of Chromium, against real gateways.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import type { Recorder } from "../shared/record.js";
import { openPage, startBrowser } from "../shared/browser.js";
import { Cleanup, startGateway, startRedis } from "../shared/processes.js";
import { Proxy } from "../shared/proxy.js";
import { connect } from "../shared/record.js";
import { Scripted } from "../shared/scripted.js";
import { until } from "../shared/until.js";

const cleanup = new Cleanup();
let browser: Browser;
before(async () => {
  browser = await startBrowser();
});
afterEach(async () => {
  for (const context of browser.contexts()) await context.close();
  await cleanup.run();
});
after(() => browser.close());

type Told = { type: string; payload?: { number: number }; [field: string]: unknown };

async function fleet(config: object = {}) {
  const redisPort = await startRedis(cleanup);
  const a = await startGateway(cleanup, { node: "gateway-a", redisPort, demo: true, config });
  const b = await startGateway(cleanup, { node: "gateway-b", redisPort, demo: true, config });
  const balancer = await Proxy.start(cleanup, a.port);
  // Written to by a client beside the browser, on the gateway that stays.
  const writer = connect(cleanup, `ws://127.0.0.1:${b.port}/ws`, { requestTimeoutMs: 60_000 });
  return { a, b, balancer, writer, tab: await tab(balancer.origin) };
}

/** A tab with a client in `lobby` that keeps what it is told. */
async function tab(origin: string) {
  const { page } = await openPage(browser, `${origin}/demo/icon.svg`);
  await page.evaluate(`(async () => {
    const { Client } = await import("/demo/wscluster.js");
    const told = (globalThis.told = []);
    const client = (globalThis.client = new Client("/ws", { backoff: { baseMs: 50, maxMs: 200 }, pongTimeoutMs: 1000 }));
    const names = ["connected", "disconnected", "recovered", "resync", "drain", "moved", "closed", "message"];
    for (const name of names) client.on(name, ({ payload, ...rest }) =>
      told.push({ type: name, ...rest, ...(name === "message" ? { payload: { number: payload.number } } : {}) }));
    await client.subscribe("lobby").ready;
  })()`);
  return page;
}

const told = (page: Page) => page.evaluate("told") as Promise<Told[]>;
const numbers = (events: Told[]) => events.filter(({ type }) => type === "message").map(({ payload }) => payload?.number);
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);

async function heard(page: Page, what: string, enough: (events: Told[]) => boolean, timeoutMs?: number): Promise<Told[]> {
  let last: Told[] = [];
  await until(what, async () => enough((last = await told(page))), timeoutMs);
  return last;
}

/** Publishes numbers until it is told to stop; gives how many. */
function flow(writer: Recorder): { stop(): Promise<number>; count(): number } {
  let [count, writing] = [0, true];
  const running = (async () => {
    for (; writing; count++) await writer.client.publish("lobby", { number: count });
  })();
  return {
    count: () => count,
    stop: async () => {
      writing = false;
      await running;
      return count;
    },
  };
}

test("a tab subscribes and publishes", async () => {
  const { tab, writer } = await fleet();
  await writer.client.subscribe("lobby").ready;
  const id = await tab.evaluate("client.publish('lobby', { number: 0 })");
  assert.equal((await writer.heard("message")).id, id);
  assert.deepEqual(numbers(await heard(tab, "its own message", (events) => numbers(events).length === 1)), [0]);
});

test("a drain moves a tab without a gap", async () => {
  const { a, b, balancer, writer, tab } = await fleet();
  const stream = flow(writer);
  await until("messages flow", () => stream.count() > 20);
  balancer.target = b.port;
  await a.drain({ timeoutSeconds: 20 });
  await heard(tab, "moved", (events) => events.some(({ type }) => type === "moved"));
  const sent = await stream.stop();
  const events = await heard(tab, "all messages", (events) => numbers(events).length >= sent);
  assert.deepEqual(numbers(events), upTo(sent));
  assert.deepEqual(events.filter(({ type }) => type === "disconnected" || type === "resync"), []);
});

test("a tab resumes after its network was cut, from its cursor", async () => {
  // An offline tab is not told that its connection is gone: it finds out when a ping is not answered.
  const { b, balancer, writer, tab } = await fleet({ heartbeat: { intervalSeconds: 1, timeoutSeconds: 60 } });
  const stream = flow(writer);
  await until("messages flow", () => stream.count() > 20);
  await tab.context().setOffline(true);
  balancer.cut();
  await heard(tab, "disconnected", (events) => events.some(({ type }) => type === "disconnected"));
  const then = stream.count();
  await until("more messages flow", () => stream.count() > then + 20);
  balancer.target = b.port;
  await tab.context().setOffline(false);
  await heard(tab, "recovered", (events) => events.some(({ type }) => type === "recovered"));
  const sent = await stream.stop();
  const events = await heard(tab, "all messages", (events) => numbers(events).length >= sent);
  assert.deepEqual(numbers(events), upTo(sent));
});

test("a tab whose thread is blocked under a flood is let go, and resumes without a silent gap", async () => {
  const { writer, tab, a } = await fleet({
    backpressure: { maxBufferedBytes: 200_000 },
    limits: { messagesPerSecond: 100_000, burst: 100_000 },
    streams: { trim: { strategy: "MaxLen", maxLen: 100_000 } },
  });
  const slow = async () => {
    const text = await (await fetch(`http://127.0.0.1:${a.adminPort}/metrics`)).text();
    return /^ws_slow_closes_total\{[^}]*\} [1-9]/m.test(text);
  };
  const blocked = tab.evaluate("(() => { const end = performance.now() + 9000; while (performance.now() < end); })()");
  const filler = "x".repeat(20_000);
  let count = 0;
  await until("the gateway has let the tab go", async () => {
    await Promise.all(Array.from({ length: 50 }, () => writer.client.publish("lobby", { number: count++, filler })));
    return slow();
  });
  await blocked;
  const last = count;
  await writer.client.publish("lobby", { number: last });
  const events = await heard(tab, "the last message", (events) => numbers(events).at(-1) === last, 30_000);
  assert.ok(events.some(({ type, code }) => type === "disconnected" && (code === 1013 || code === 1006)), JSON.stringify(events.filter(({ type }) => type !== "message")));
  let expected = 0;
  for (const { type, payload } of events) {
    if (type === "resync") expected = -1;
    if (type !== "message") continue;
    const number = payload?.number ?? -1;
    assert.ok(expected === -1 ? number > 0 : number === expected, `${number} where ${expected} was expected, and no resync before`);
    expected = number + 1;
  }
});

test("a tab refreshes its token, and the connection stays", async () => {
  const gateway = await Scripted.start(cleanup);
  for (let number = 1; number < 100; number++) gateway.good.set(`t${number}`, 1000);
  const { page } = await openPage(browser, `${gateway.origin}/`);
  await page.evaluate(`(async () => {
    const { Client } = await import("/wscluster.js");
    const lost = (globalThis.lost = []);
    let last = 0;
    const token = async () => ({ token: "t" + ++last, expiresAt: Date.now() + 1000 });
    const client = (globalThis.client = new Client("/ws", { token }));
    client.on("disconnected", (event) => lost.push(event));
    await client.subscribe("lobby").ready;
  })()`);
  await until("four tokens were shown", () => gateway.shown.length >= 4);
  assert.deepEqual([gateway.connections, await page.evaluate("lost"), gateway.early], [1, [], []]);
});
