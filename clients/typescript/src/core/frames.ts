// What a gateway's frames mean to the session. It does not know which connection will serve next.

import { delayMs } from "../backoff.js";
import type { Incoming } from "../frame.js";
import { compareIds, type MessageId } from "../id.js";
import { accepted } from "./auth.js";
import { askRoster, drainCancelled, drained, nextWelcomed, ready } from "./connections.js";
import { answered, isReady, isRepeat, type Link, type Pending } from "./link.js";
import { passes, refuse, succeed } from "./requests.js";
import { type Core, emit, links } from "./state.js";

/** A day: the gateway names no deadline. */
const NO_DEADLINE_MS = 86_400_000;

type Handler = (core: Core, link: Link, frame: Incoming, now: number) => void;

const HANDLERS: Readonly<Record<string, Handler>> = {
  message,
  welcome,
  subscribed,
  resync,
  ok: answer,
  history: answer,
  presence: answer,
  error: refusal,
  join: (core, link, frame) => change(core, link, "join", frame),
  leave: (core, link, frame) => change(core, link, "leave", frame),
  drain: (core, link, frame, now) =>
    drained(core, link, frame.retryAfterMs ?? 0, frame.deadlineMs ?? NO_DEADLINE_MS, now),
  drainCancelled,
};

/** A frame arrived. Types that are not known here are ignored, as the protocol asks. */
export function handle(core: Core, link: Link, frame: Incoming, now: number): void {
  if (Object.hasOwn(HANDLERS, frame.type)) HANDLERS[frame.type]?.(core, link, frame, now);
}

function welcome(core: Core, link: Link, frame: Incoming, now: number): void {
  link.node = frame.node ?? "";
  link.session = frame.session ?? "";
  link.heartbeatMs = frame.heartbeatMs ?? 0;
  link.maxMessageBytes = frame.maxMessageBytes ?? Number.POSITIVE_INFINITY;
  if (isReady(link, core.settings)) ready(core, link);
  nextWelcomed(core, link, now);
}

function subscribed(core: Core, link: Link, frame: Incoming): void {
  const pending = answered(link, frame.ref);
  if (pending?.type !== "subscribe") return;
  const [room, place] = [core.rooms.get(pending.room), link.rooms.get(pending.room)];
  if (room === undefined || place === undefined || place.ref !== frame.ref) return;
  const { since } = pending;
  const proven = since === undefined || frame.recovered === true;
  const position = frame.position ?? since ?? "0-0";
  place.confirmed = true;
  place.last = proven ? (since ?? position) : position;
  room.cursor ??= position;
  const first = !room.announced;
  room.announced = true;
  if (first) emit(core, { type: "subscribed", room: pending.room, position: room.cursor });
  if (!proven) rebase(core, link, pending.room, position, frame.reason ?? "unrecovered");
  else if (!first) emit(core, { type: "recovered", room: pending.room, replayed: frame.replayed ?? 0 });
  if (room.presence && link === core.current) askRoster(core, link, pending.room);
}

/** An entry: at or before the connection's own last one it is a fault of the gateway's; at or before the session's
 * cursor the other connection was quicker; else it is the application's. */
function message(core: Core, link: Link, frame: Incoming): void {
  const { room: name, id } = frame;
  if (name === undefined || id === undefined) return;
  const [room, place] = [core.rooms.get(name), link.rooms.get(name)];
  if (room === undefined || place?.confirmed !== true || isRepeat(place, id)) return;
  place.last = id;
  if (room.cursor !== undefined && compareIds(id, room.cursor) <= 0) return;
  room.cursor = id;
  emit(core, { type: "message", room: name, id, timestamp: frame.timestamp ?? 0, payload: frame.payload });
}

function resync(core: Core, link: Link, frame: Incoming): void {
  const { room: name } = frame;
  const position = frame.position ?? core.rooms.get(name ?? "")?.cursor;
  const place = link.rooms.get(name ?? "");
  // The answer to a subscribe on its way says more than this.
  if (name === undefined || position === undefined || place?.confirmed !== true) return;
  place.last = position;
  rebase(core, link, name, position, frame.reason ?? "");
}

/** A room goes on at `position`, with what lies between missing. Forward only on the connection that serves: the next one
 * may have missed what the current one still brings. Back in any case: the stream itself went back. */
function rebase(core: Core, link: Link, name: string, position: MessageId, reason: string): void {
  const room = core.rooms.get(name);
  if (room === undefined) return;
  const back = room.cursor === undefined || compareIds(position, room.cursor) < 0;
  if (link === core.current || back) room.cursor = position;
  emit(core, { type: "resync", room: name, reason, position });
}

function answer(core: Core, link: Link, frame: Incoming): void {
  const pending = answered(link, frame.ref);
  if (pending?.type === "request") succeed(core, pending.ticket, frame);
  else if (pending?.type === "roster") change(core, link, "presence", { ...frame, room: pending.room });
  else if (pending?.type === "auth") authenticated(core, link);
}

function authenticated(core: Core, link: Link): void {
  const before = isReady(link, core.settings);
  accepted(core, link);
  if (!before && isReady(link, core.settings)) ready(core, link);
}

/** Who is in a room, by the connection that serves: the other one would tell the same again. */
function change(core: Core, link: Link, type: "presence" | "join" | "leave", frame: Incoming): void {
  const { room } = frame;
  if (room === undefined || link !== core.current || core.rooms.get(room)?.presence !== true) return;
  const members = frame.members ?? [];
  emit(core, { type, room, members, count: frame.count ?? members.length });
}

function refusal(core: Core, link: Link, frame: Incoming, now: number): void {
  const [code, text] = [frame.code ?? "", frame.message ?? ""];
  const pending: Pending | undefined = answered(link, frame.ref);
  if (pending?.type === "request") refuse(core, pending.ticket, code, text, now);
  else if (pending?.type === "subscribe") subscribeRefused(core, link, pending.room, frame.ref, code, text, now);
  else emit(core, { type: "error", code, message: text });
}

function subscribeRefused(
  core: Core,
  link: Link,
  name: string,
  ref: number | undefined,
  code: string,
  message: string,
  now: number,
): void {
  if (link.rooms.get(name)?.ref !== ref) return;
  if (passes(code)) {
    // The gateway cannot serve the room just now: ask for it again, on the same connection.
    link.rooms.delete(name);
    link.askAgainAt ??= now + delayMs(core.settings.backoff, 1, core.chance());
    return;
  }
  core.rooms.delete(name);
  for (const other of links(core)) other.rooms.delete(name);
  emit(core, { type: "refused", room: name, code, message });
}
