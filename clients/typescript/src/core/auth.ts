// Tokens: when the application is asked for one, and on which connections it is shown. It does not know what is in a token.

import { delayMs } from "../backoff.js";
import { type Link, send } from "./link.js";
import { type Core, emit, links } from "./state.js";

/** Whether a connection may be opened now; if not, the application was asked for a token, and `opened` is for later. */
export function tokenForOpening(core: Core, now: number): boolean {
  if (!core.settings.tokens || (core.token?.refreshAt !== undefined && now < core.token.refreshAt)) return true;
  askForToken(core);
  if (core.tokenAsked !== undefined) core.tokenAsked.open = true;
  return false;
}

/** The application gave a token: shows it on every connection that is open. True when a connection waits for it. */
export function gotToken(core: Core, text: string, expiresInMs: number | undefined, now: number): boolean {
  const opening = core.tokenAsked?.open === true;
  core.tokenAsked = undefined;
  const margin = expiresInMs === undefined ? 0 : Math.min(core.settings.refreshBeforeMs, expiresInMs / 2);
  core.refreshAt = expiresInMs === undefined ? undefined : now + expiresInMs - margin;
  core.token = { text, refreshAt: core.refreshAt };
  for (const link of links(core)) if (link.node !== undefined) showToken(core, link);
  return opening;
}

/** The application has no token just now. True when a connection waits for one. */
export function noToken(core: Core, message: string, now: number): boolean {
  const opening = core.tokenAsked?.open === true;
  core.tokenAsked = undefined;
  emit(core, { type: "error", code: "token", message });
  if (!opening) core.refreshAt = now + core.settings.backoff.baseMs + delayMs(core.settings.backoff, 4, core.chance());
  return opening;
}

/** Shows the token on a connection: first of all, or again to stay. */
export function showToken(core: Core, link: Link): void {
  if (core.token === undefined) return;
  if (link.auth === "none") link.auth = "asked";
  send(link, { type: "auth" }, { type: "auth", token: core.token.text }, core.effects);
}

/** The gateway took the token. */
export function accepted(core: Core, link: Link): void {
  link.auth = "done";
  core.tokenRefusals = 0;
}

/**
 * A connection was closed for its token. Whether to come back: yes when it had been taken before (it expired), and once
 * when it had not (the application's copy was stale).
 */
export function tokenRefused(core: Core, link: Link): boolean {
  core.token = undefined;
  core.refreshAt = undefined;
  if (link.auth === "done") return core.settings.tokens;
  core.tokenRefusals += 1;
  return core.settings.tokens && core.tokenRefusals < 2;
}

/** The token's life ends soon: asks for the next one while the connection serves. */
export function refresh(core: Core, now: number): void {
  if (core.refreshAt === undefined || core.refreshAt > now) return;
  core.refreshAt = undefined;
  if (core.current !== undefined) askForToken(core);
}

function askForToken(core: Core): void {
  if (core.tokenAsked !== undefined) return;
  core.tokenAsked = { open: false };
  core.effects.push({ type: "token", refused: core.tokenRefusals > 0 });
}
