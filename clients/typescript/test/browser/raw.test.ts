// A raw client in a real tab: no library, only the browser's own WebSocket.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { openPage, startBrowser } from "../shared/browser.js";
import { Cleanup } from "../shared/processes.js";
import { bearerEntry, startGuarded, tokenFor } from "../shared/tokens.js";

const cleanup = new Cleanup();
let browser: Browser;
before(async () => {
  browser = await startBrowser();
});
after(async () => {
  await cleanup.run();
  await browser.close();
});

interface Ended {
  protocol: string;
  came: string[];
  code: number;
}

test("a raw client in a tab comes in with a token beside the name wscluster.raw, and not without that name", async () => {
  const gateway = await startGuarded(cleanup, { demo: true });
  const { page } = await openPage(browser, `http://127.0.0.1:${gateway.port}/demo/icon.svg`);
  /** Says hello and leaves once that has come back. */
  const talk = (room: string, offered: string[]) =>
    page.evaluate(`new Promise((resolve) => {
      const socket = new WebSocket("ws://" + location.host + "/ws?room=${room}", ${JSON.stringify(offered)});
      const came = [];
      socket.onopen = () => socket.send("hello");
      socket.onmessage = ({ data }) => { came.push(data); socket.close(1000); };
      socket.onclose = ({ code }) => resolve({ protocol: socket.protocol, came, code });
    })`) as Promise<Ended>;
  const entry = bearerEntry(tokenFor("lobby", 60));
  const hello = { protocol: "wscluster.raw", came: ["hello"], code: 1000 };
  assert.deepEqual(await talk("lobby", ["wscluster.raw", entry]), hello);
  assert.deepEqual(await talk("lobby", [entry, "wscluster.raw"]), hello);
  assert.deepEqual((await talk("lobby", [entry])).came, [], "a browser gives up when no name is answered");
  assert.deepEqual(await talk("secret", ["wscluster.raw", entry]), { protocol: "wscluster.raw", came: [], code: 3003 });
});
