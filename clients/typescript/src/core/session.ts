// The session as a state machine: things that happened go in, effects come out. It knows no socket and no clock.
//
// Why merging two connections by id is enough: each delivers a contiguous, ordered part of the room's stream, from the
// cursor it was subscribed with. A connection is only ever subscribed with a cursor that the session has reached, so what
// either brings next is at or before the session's cursor (a duplicate) or directly after it.

import type { MessageId } from "../id.js";
import { gotToken, noToken, refresh } from "./auth.js";
import { check, cutOver, ended, finish, open, opened, postpone, wake } from "./connections.js";
import { handle } from "./frames.js";
import { isReady, type Link, nextCheck, send } from "./link.js";
import { ask, cancel, expire, flush, requestTimes } from "./requests.js";
import { announceStage, type Core, findLink, links } from "./state.js";
import type { Effect, Input } from "./types.js";

export type { Core } from "./state.js";
export { newCore } from "./state.js";

/** Something happened at `now`, in milliseconds on a clock that never goes back. What there is to do, in order. */
export function step(core: Core, input: Input, now: number): Effect[] {
  if (core.stage !== "closed") {
    happened(core, input, now);
    advance(core, now);
  } else if (input.type === "ask") {
    const outcome = { ok: false, code: "closed", message: "the client was closed" } as const;
    core.effects.push({ type: "settle", ticket: input.ticket, outcome });
  }
  const { effects } = core;
  core.effects = [];
  return effects;
}

/** When a `tick` has something to do; it may come at any other time too. */
export function wakeup(core: Core): number | undefined {
  const times = links(core).flatMap((link) => [nextCheck(link, core.settings)?.at, link.askAgainAt]);
  const all = [...times, ...requestTimes(core), core.openAt, core.refreshAt].filter((time) => time !== undefined);
  return all.length === 0 ? undefined : Math.min(...all);
}

function happened(core: Core, input: Input, now: number): void {
  switch (input.type) {
    case "subscribe":
      return subscribe(core, input.room, input.since, input.presence);
    case "unsubscribe":
      return unsubscribe(core, input.room);
    case "ask":
      return ask(core, input.ticket, input.ask, now);
    case "cancel":
      return cancel(core, input.ticket);
    case "token":
      return gotToken(core, input.token, input.expiresInMs, now) ? open(core, now, true) : undefined;
    case "tokenFailed":
      return noToken(core, input.message, now) ? postpone(core, now) : undefined;
    case "opened":
      return opened(core, input.link, now);
    case "frame":
      return arrived(core, input, now);
    case "ended":
      return ended(core, input.link, input.code, input.reason, now);
    case "wake":
      return wake(core, now);
    case "tick":
      return;
    case "close":
      return finish(core, 1000, "closed by the application");
  }
}

function subscribe(core: Core, name: string, since: MessageId | undefined, presence: boolean): void {
  const room = core.rooms.get(name);
  if (room === undefined) {
    core.rooms.set(name, { cursor: since, announced: false, presence });
  } else if (presence && !room.presence) {
    room.presence = true;
    for (const link of links(core)) link.rooms.delete(name); // asked for anew, from the cursor
  }
}

function unsubscribe(core: Core, name: string): void {
  if (!core.rooms.delete(name)) return;
  for (const link of links(core)) {
    if (link.rooms.delete(name)) send(link, undefined, { type: "unsubscribe", room: name }, core.effects);
  }
}

function arrived(core: Core, input: Input & { type: "frame" }, now: number): void {
  const link = findLink(core, input.link);
  if (link === undefined) return;
  link.heardAt = now;
  link.probe = undefined;
  handle(core, link, input.frame, now);
}

/** Does what the state and the time allow by now. */
function advance(core: Core, now: number): void {
  check(core, now);
  refresh(core, now);
  if (core.openAt !== undefined && core.openAt <= now) {
    core.openAt = undefined;
    open(core, now);
  }
  expire(core, now);
  askForRooms(core, now);
  cutOver(core, now);
  flush(core, now);
  announceStage(core, now);
}

/**
 * Subscribes on each connection what it lacks. The next one gets a room only with a cursor: without one it would begin
 * anywhere, and the part between its beginning and the current connection's end would be a gap.
 */
function askForRooms(core: Core, now: number): void {
  for (const link of links(core)) {
    if (!isReady(link, core.settings) || (link.askAgainAt ?? 0) > now) continue;
    link.askAgainAt = undefined;
    for (const [name, room] of core.rooms) {
      const begins = room.cursor !== undefined || link === core.current;
      if (begins && !link.rooms.has(name)) subscribeOn(core, link, name);
    }
  }
}

function subscribeOn(core: Core, link: Link, name: string): void {
  const room = core.rooms.get(name);
  const since = room?.cursor;
  const presence = room?.presence === true ? true : undefined;
  const frame = { type: "subscribe", room: name, since, presence } as const;
  const ref = send(link, { type: "subscribe", room: name, since }, frame, core.effects);
  link.rooms.set(name, { ref, confirmed: false, last: "0-0" });
}
