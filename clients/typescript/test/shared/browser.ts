// A real Chromium without a window, driven through the DevTools protocol.

import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";

const PROGRAM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

export async function startBrowser(): Promise<Browser> {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: apt-get install chromium, or name another by CHROMIUM`);
  // Root cannot use Chromium's sandbox. A background tab is a tab like any other here.
  const flags = ["--no-sandbox", "--disable-background-timer-throttling", "--disable-renderer-backgrounding"];
  return chromium.launch({ executablePath: PROGRAM, args: flags });
}

/** A page, and what went wrong on it. */
export async function openPage(browser: Browser, url: string, options: Parameters<Browser["newContext"]>[0] = {}): Promise<{ page: Page; faults: string[] }> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const faults: string[] = [];
  page.on("pageerror", (error) => void faults.push(String(error)));
  page.on("console", (line) => line.type() === "error" && void faults.push(line.text()));
  await page.goto(url);
  return { page, faults };
}
