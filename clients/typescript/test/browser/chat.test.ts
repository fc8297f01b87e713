// The example in real tabs of Chromium, in front of two gateways on one Redis.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { openPage, startBrowser } from "../shared/browser.js";
import { Cleanup, startGateway, startRedis } from "../shared/processes.js";
import { Proxy } from "../shared/proxy.js";
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

async function world() {
  const redisPort = await startRedis(cleanup);
  const a = await startGateway(cleanup, { node: "gateway-a", redisPort, demo: true });
  const b = await startGateway(cleanup, { node: "gateway-b", redisPort, demo: true });
  const balancer = await Proxy.start(cleanup, a.port);
  return { a, b, balancer, url: `${balancer.origin}/demo/` };
}

async function enter(url: string, name: string, size?: { width: number; height: number }) {
  const { page, faults } = await openPage(browser, url, size ? { viewport: size } : {});
  await page.locator("#state[data-state=connected]").waitFor();
  if (size === undefined) {
    await page.getByLabel("Your name").fill(name);
    await page.getByLabel("Your name").press("Enter");
  }
  return { page, faults };
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send" }).click();
}

function texts(page: Page): Promise<string[]> {
  return page.locator("#messages .body").allTextContents();
}

test("two tabs see each other's messages and each other, and a drain loses nothing", async () => {
  const { a, b, balancer, url } = await world();
  const ada = await enter(url, "Ada");
  await say(ada.page, "hello");
  const bob = await enter(url, "Bob");
  await bob.page.getByText("hello").waitFor();
  await say(bob.page, "hi Ada");
  await ada.page.getByText("hi Ada").waitFor();
  for (const { page } of [ada, bob]) {
    await until("two people are here", async () => (await page.locator("#people li").count()) === 2);
    assert.deepEqual((await page.locator("#people li > span:nth-child(2)").allTextContents()).sort(), ["Ada", "Bob"]);
  }

  let [sent, talking] = [0, true];
  const talk = (async () => {
    for (; talking; sent++) await say(sent % 2 === 0 ? ada.page : bob.page, `line ${sent}`);
  })();
  await until("they talk", () => sent > 5);
  balancer.target = b.port;
  await a.drain({ timeoutSeconds: 20 });
  for (const { page } of [ada, bob]) await page.locator("#log").getByText("Moved from gateway-a to gateway-b without a gap").waitFor();
  const upTo = sent + 6;
  await until("they talk on", () => sent > upTo);
  talking = false;
  await talk;

  for (const { page } of [ada, bob]) {
    await until("all is there", async () => (await texts(page)).length >= sent + 2);
    const lines = (await texts(page)).slice(2).sort((one, other) => Number(one.slice(5)) - Number(other.slice(5)));
    assert.deepEqual(lines, Array.from({ length: sent }, (_, index) => `line ${index}`));
    assert.equal(await page.locator("#messages .waiting").count(), 0);
    assert.equal(await page.locator("#node").textContent(), "gateway-b");
    assert.equal(await page.locator("#moves").textContent(), "1");
    assert.equal(await page.locator("#resyncs").textContent(), "0");
    await page.locator("#log").getByText("gateway-a is drained").waitFor();
    await until("two people are here", async () => (await page.locator("#people li").count()) === 2);
  }
  assert.deepEqual([...ada.faults, ...bob.faults], [], "no error, and nothing against the page's policy");
});

test("a message written while the network is cut is shown as waiting, and sent when it is back", async () => {
  const { b, balancer, url } = await world();
  const ada = await enter(url, "Ada");
  const bob = await enter(url, "Bob");
  balancer.cut();
  await ada.page.locator("#state[data-state=waiting]").waitFor();
  await say(ada.page, "into the void");
  assert.equal(await ada.page.locator("#messages .waiting").count(), 1);
  balancer.target = b.port;
  await bob.page.getByText("into the void").waitFor();
  await until("it waits no more", async () => (await ada.page.locator("#messages .waiting").count()) === 0);
  assert.deepEqual(await texts(ada.page), ["into the void"]);
  await ada.page.locator("#log").getByText("Resumed 3 rooms").waitFor();
  assert.equal(await ada.page.locator("#resumes").textContent(), "1");
});

test("rooms are apart, and one that is not open counts what was not read", async () => {
  const { url } = await world();
  const [ada, bob] = [await enter(url, "Ada"), await enter(url, "Bob")];
  for (const { page } of [ada, bob]) {
    await page.getByLabel("Join or make a room").fill("böard & <b>games</b>");
    await page.getByRole("button", { name: "Join the room" }).click();
  }
  await bob.page.locator("#people li").nth(1).waitFor();
  await bob.page.getByRole("button", { name: "lobby" }).click();
  await say(ada.page, "<img src=x> chess?");
  await bob.page.getByLabel("1 unread").waitFor();
  assert.deepEqual(await texts(bob.page), []);
  await bob.page.getByRole("button", { name: "böard & <b>games</b>" }).click();
  assert.deepEqual(await texts(bob.page), ["<img src=x> chess?"]);
  assert.equal(await bob.page.getByLabel("1 unread").count(), 0);
  assert.deepEqual([...ada.faults, ...bob.faults], []);
});

test("on a phone one view fills the screen, nothing is wider than it, and every field has a label", async () => {
  const { url } = await world();
  const { page } = await enter(url, "", { width: 390, height: 844 });
  for (const view of ["Chat", "People", "Connection"]) {
    await page.getByRole("button", { name: view, exact: true }).click();
    assert.equal(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), true, view);
    assert.equal(await page.locator("main:visible, aside:visible").count(), 1, view);
  }
  assert.equal(await page.evaluate("[...document.querySelectorAll('input')].every((input) => input.labels.length === 1)"), true);
});
