// Takes the pictures of the example that stand in the README: `npm run screenshots`. No test.

import { join } from "node:path";
import type { Page } from "playwright-core";
import { openPage, startBrowser } from "../shared/browser.js";
import { Cleanup, ROOT, startGateway, startRedis } from "../shared/processes.js";
import { Proxy } from "../shared/proxy.js";
import { until } from "../shared/until.js";

const cleanup = new Cleanup();
const browser = await startBrowser();
cleanup.add(() => browser.close());

try {
  const redisPort = await startRedis(cleanup);
  const a = await startGateway(cleanup, { node: "chat-7d9f-x2kqp", redisPort, demo: true });
  const b = await startGateway(cleanup, { node: "chat-85b4-m8zrt", redisPort, demo: true });
  const balancer = await Proxy.start(cleanup, a.port);
  const url = `${balancer.origin}/demo/`;
  const [ada, grace, lin, phone] = [await enter(url, "Ada"), await enter(url, "Grace"), await enter(url, "Lin"), await enter(url, "Sam")];
  await say(grace, "Morning! v2 of the gateway goes out now.");
  await say(grace, "Nobody should notice.");
  await say(lin, "While we are all connected? 😅");
  await say(ada, "That is the point. Watch the log on the right.");
  balancer.target = b.port;
  await a.drain({ timeoutSeconds: 10 });
  for (const page of [ada, grace, lin, phone]) await page.locator("#log").getByText("Moved").waitFor();
  await say(lin, "Moved to another pod, and the conversation is whole.");
  await say(phone, "On the phone too: no gap, no duplicate.");
  await say(ada, "Ship it 🚢");
  await ada.getByText("On the phone too").waitFor();
  for (const room of ["support"]) {
    await grace.getByRole("button", { name: room }).click();
    await say(grace, "Anything open here?");
  }
  await ada.getByLabel("1 unread").waitFor();
  await until("four people are here", async () => (await ada.locator("#people li").count()) === 4);
  await take(ada, "chat-desktop.png");
  await phone.setViewportSize({ width: 390, height: 844 });
  await phone.locator("#messages").evaluate("(list) => { list.scrollTop = list.scrollHeight; }");
  await take(phone, "chat-phone.png");
  if (process.env["ALL_VIEWS"]) {
    await ada.emulateMedia({ colorScheme: "dark" });
    await take(ada, "../../target/chat-desktop-dark.png");
    for (const view of ["People", "Connection"]) {
      await phone.getByRole("button", { name: view, exact: true }).click();
      await take(phone, `../../target/chat-phone-${view}.png`);
    }
  }
} finally {
  await cleanup.run();
}

async function enter(url: string, name: string): Promise<Page> {
  const { page } = await openPage(browser, url, { viewport: { width: 1280, height: 800 } });
  await page.locator("#state[data-state=connected]").waitFor();
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Your name").press("Enter");
  return page;
}

async function say(page: Page, text: string): Promise<void> {
  await page.getByLabel("Message", { exact: true }).fill(text);
  await page.getByRole("button", { name: "Send" }).click();
  await until("it is sent", async () => (await page.locator("#messages .waiting").count()) === 0);
}

async function take(page: Page, name: string): Promise<void> {
  await page.evaluate("document.activeElement?.blur()");
  await page.screenshot({ path: join(ROOT, "docs/images", name) });
}
