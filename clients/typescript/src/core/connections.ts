// Opening, losing and replacing connections: the part of the core that decides which connection serves. It does not know
// what the frames say.

import { ceilingMs } from "../backoff.js";
import { afterClose, type Retry } from "../close.js";
import { showToken, tokenForOpening, tokenRefused } from "./auth.js";
import { isReady, type Link, newLink, nextCheck, send } from "./link.js";
import { failAll, mayLeave, returnAll } from "./requests.js";
import { type Core, emit, findLink, links, nextDelay, nextIsReady } from "./state.js";
import type { LinkId } from "./types.js";

/** A check that comes so much later than planned says that the process was stopped, not that the gateway is silent. */
const LATE_MS = 1000;

/** Opens the connection that is missing, or asks for the token that it needs. */
export function open(core: Core, now: number, freshToken = false): void {
  const { current } = core;
  const moving = current?.drain !== undefined && core.next === undefined && now < current.drain.deadline;
  if ((current !== undefined && !moving) || !(freshToken || tokenForOpening(core, now))) return;
  core.lastLink += 1;
  const link = newLink(core.lastLink, now);
  if (moving) core.next = link;
  else core.current = link;
  core.effects.push({ type: "open", link: link.id });
}

/** The handshake is done. */
export function opened(core: Core, id: LinkId, now: number): void {
  const link = findLink(core, id);
  if (link === undefined) return;
  link.heardAt = now;
  if (core.settings.tokens) showToken(core, link);
}

/** A connection serves from now on, if it is the session's. */
export function ready(core: Core, link: Link): void {
  if (link !== core.current) return;
  emit(core, { type: "connected", node: link.node ?? "", session: link.session });
  followDrain(core);
}

/** The gateway asks us to move. */
export function drained(core: Core, link: Link, retryAfterMs: number, deadlineMs: number, now: number): void {
  const first = link.drain === undefined;
  link.drain = { retryAt: now + retryAfterMs, deadline: now + deadlineMs };
  if (!first) return;
  if (link !== core.current) return drainedOnArrival(core, link, now);
  if (now - link.startedAt >= core.settings.stableAfterMs) core.failures = 0;
  emit(core, { type: "drain", retryAfterMs, deadlineMs });
  followDrain(core);
}

/** To serve there would only mean to move once more; unless the alternative is to be closed before another attempt. */
function drainedOnArrival(core: Core, next: Link, now: number): void {
  const deadline = core.current?.drain?.deadline ?? 0;
  if (now + ceilingMs(core.settings.backoff, core.failures) < deadline) turnBack(core, next, now);
}

/** The drain was cancelled: we stay, unless we have left. */
export function drainCancelled(core: Core, link: Link): void {
  const { drain } = link;
  link.drain = undefined;
  if (drain === undefined || link !== core.current) return;
  core.openAt = undefined;
  if (core.next !== undefined) leaveNext(core, core.next);
  emit(core, { type: "drainCancelled", node: link.node ?? "" });
}

/** The next connection was welcomed: by another gateway than the one that is to be left, or nothing is gained. */
export function nextWelcomed(core: Core, next: Link, now: number): void {
  if (next === core.next && next.node !== "" && next.node === core.current?.node) turnBack(core, next, now);
}

/** Gives the next connection up, as if it had failed. */
function turnBack(core: Core, next: Link, now: number): void {
  leaveNext(core, next);
  nextEnded(core, next, 1006, now);
}

function leaveNext(core: Core, next: Link): void {
  core.effects.push({ type: "leave", link: next.id });
  core.next = undefined;
  core.readySince = undefined;
  returnAll(core, next.id, 1000);
}

/** Lets the next connection serve once everything is there. Nothing of the old one is missed: whatever it has not
 * delivered yet comes from the next one. */
export function cutOver(core: Core, now: number): void {
  if (!nextIsReady(core)) core.readySince = undefined;
  else if (core.current === undefined || mayLeave(core, now)) takeOver(core);
}

function takeOver(core: Core): void {
  const [old, next] = [core.current, core.next];
  core.current = next;
  core.next = undefined;
  core.readySince = undefined;
  core.failures = 0;
  if (old === undefined || next === undefined) return;
  core.effects.push({ type: "leave", link: old.id });
  returnAll(core, old.id, 1000);
  emit(core, { type: "moved", from: old.node ?? "", to: next.node ?? "", session: next.session });
  rosters(core, next);
  followDrain(core);
}

/** Asks who is in the rooms whose presence the application follows: what came on the other connection is no longer told. */
function rosters(core: Core, link: Link): void {
  for (const [room, { presence }] of core.rooms) if (presence) askRoster(core, link, room);
}

export function askRoster(core: Core, link: Link, room: string): void {
  send(link, { type: "roster", room }, { type: "presence", room }, core.effects);
}

/** A connection ended, or never came to be. */
export function ended(core: Core, id: LinkId, code: number, reason: string, now: number): void {
  returnAll(core, id, code);
  if (core.next?.id === id) nextEnded(core, core.next, code, now);
  else if (core.current?.id === id) currentEnded(core, core.current, code, reason, now);
}

function nextEnded(core: Core, link: Link, code: number, now: number): void {
  core.next = undefined;
  if (afterClose(code) === "token") tokenRefused(core, link);
  const at = now + nextDelay(core);
  const deadline = core.current?.drain?.deadline ?? 0;
  core.openAt = at < deadline ? at : undefined;
}

function currentEnded(core: Core, link: Link, code: number, reason: string, now: number): void {
  const served = isReady(link, core.settings);
  if (served && now - link.startedAt >= core.settings.stableAfterMs) core.failures = 0;
  if (served) emit(core, { type: "disconnected", code, reason, announced: link.drain !== undefined });
  core.current = core.next;
  core.next = undefined;
  core.readySince = undefined;
  const retry = verdict(core, link, code);
  if (core.current === undefined) return reconnect(core, retry, served, code, reason, now);
  // The connection that was being prepared serves earlier than planned.
  if (isReady(core.current, core.settings)) {
    ready(core, core.current);
    rosters(core, core.current);
  }
}

function verdict(core: Core, link: Link, code: number): Retry {
  const retry = afterClose(code);
  if (retry !== "token") return retry;
  const known = link.auth === "done";
  return tokenRefused(core, link) ? (known ? "soon" : "backoff") : "never";
}

function reconnect(core: Core, retry: Retry, served: boolean, code: number, reason: string, now: number): void {
  if (retry === "never") return finish(core, code, reason);
  if (retry === "soon" && served) core.failures = 0;
  core.openAt = now + nextDelay(core);
}

/** The next attempt is due later: no token could be had. */
export function postpone(core: Core, now: number): void {
  core.openAt = now + nextDelay(core);
}

/** Plans the next connection if the current one is being drained (it may have been so before it served). */
function followDrain(core: Core): void {
  core.openAt = core.next === undefined ? core.current?.drain?.retryAt : undefined;
}

/** Pings the connections on which nothing was heard, and ends those on which nothing is heard any more. */
export function check(core: Core, now: number): void {
  for (const link of links(core)) {
    const due = nextCheck(link, core.settings);
    if (due === undefined || due.at > now) continue;
    const late = now - due.at > LATE_MS;
    if (due.what === "ping") probe(core, link, false, now);
    else if (late && link.probe?.again === false) probe(core, link, true, now);
    else bury(core, link, now);
  }
}

/** The network or the page is back: asks on the connections that we have, or makes one at once. */
export function wake(core: Core, now: number): void {
  for (const link of links(core)) {
    if (isReady(link, core.settings) && link.probe === undefined) probe(core, link, false, now);
  }
  if (core.current !== undefined || core.openAt === undefined) return;
  core.failures = 0;
  core.openAt = now;
}

function probe(core: Core, link: Link, again: boolean, now: number): void {
  link.probe = { at: now, again };
  send(link, undefined, { type: "ping" }, core.effects);
}

function bury(core: Core, link: Link, now: number): void {
  const reason = isReady(link, core.settings) ? "no answer to a ping" : "no welcome in time";
  core.effects.push({ type: "abort", link: link.id });
  ended(core, link.id, 1006, reason, now);
}

/** The session is over. */
export function finish(core: Core, code: number, reason: string): void {
  if (core.stage === "closed") return;
  for (const link of links(core)) core.effects.push({ type: "leave", link: link.id });
  [core.current, core.next, core.openAt] = [undefined, undefined, undefined];
  [core.tokenAsked, core.refreshAt] = [undefined, undefined];
  failAll(core, reason);
  core.stage = "closed";
  emit(core, { type: "state", state: "closed" });
  emit(core, { type: "closed", code, reason });
}
