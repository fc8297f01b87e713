// One connection as the core sees it: how far it got, what was asked on it, what it has delivered. It does not know
// whether it is the session's current connection or the next one.

import { type Outgoing, withRef, writeBody } from "../frame.js";
import { compareIds, type MessageId } from "../id.js";
import type { Effect, LinkId, Settings, Ticket } from "./types.js";

/** What a pending request was about. */
export type Pending =
  | { readonly type: "auth" }
  | { readonly type: "subscribe"; readonly room: string; readonly since: MessageId | undefined }
  | { readonly type: "roster"; readonly room: string }
  | { readonly type: "request"; readonly ticket: Ticket };

/** A room on one connection. */
export interface LinkRoom {
  /** The `ref` of the subscribe that counts: an answer to an earlier one says nothing. */
  readonly ref: number;
  confirmed: boolean;
  /** The last entry that this connection delivered, or where it began. */
  last: MessageId;
}

export interface Link {
  readonly id: LinkId;
  readonly startedAt: number;
  /** The gateway's name; undefined until its `welcome`. */
  node: string | undefined;
  session: string;
  heartbeatMs: number;
  maxMessageBytes: number;
  heardAt: number;
  /** When a ping was sent, after which nothing has been heard, and whether it was sent a second time. */
  probe: { readonly at: number; readonly again: boolean } | undefined;
  auth: "none" | "asked" | "done";
  drain: { readonly retryAt: number; readonly deadline: number } | undefined;
  readonly rooms: Map<string, LinkRoom>;
  /** When to ask again for rooms that the gateway could not serve just now. */
  askAgainAt: number | undefined;
  readonly pending: Map<number, Pending>;
  lastRef: number;
}

export function newLink(id: LinkId, now: number): Link {
  return {
    id,
    startedAt: now,
    node: undefined,
    session: "",
    heartbeatMs: 0,
    maxMessageBytes: Number.POSITIVE_INFINITY,
    heardAt: now,
    probe: undefined,
    auth: "none",
    drain: undefined,
    rooms: new Map(),
    askAgainAt: undefined,
    pending: new Map(),
    lastRef: 0,
  };
}

/** Whether requests may be sent: the gateway has welcomed us, and knows us if it has to. */
export function isReady(link: Link | undefined, settings: Settings): link is Link {
  return link?.node !== undefined && (!settings.tokens || link.auth === "done");
}

/** Sends a frame whose answer is awaited. */
export function request(link: Link, pending: Pending | undefined, body: string, effects: Effect[]): number {
  link.lastRef += 1;
  if (pending !== undefined) link.pending.set(link.lastRef, pending);
  effects.push({ type: "send", link: link.id, text: withRef(body, link.lastRef) });
  return link.lastRef;
}

export function send(link: Link, pending: Pending | undefined, frame: Outgoing, effects: Effect[]): number {
  return request(link, pending, writeBody(frame), effects);
}

/** The request that an answer belongs to. */
export function answered(link: Link, ref: number | undefined): Pending | undefined {
  if (ref === undefined) return undefined;
  const pending = link.pending.get(ref);
  link.pending.delete(ref);
  return pending;
}

/** Whether the connection brought this entry before, or one that is newer. */
export function isRepeat(room: LinkRoom, id: MessageId): boolean {
  return compareIds(id, room.last) <= 0;
}

/** When the connection must be looked at, and what for. */
export function nextCheck(link: Link, settings: Settings): { readonly at: number; readonly what: "dead" | "ping" } | undefined {
  const ready: boolean = isReady(link, settings);
  if (!ready) return { at: link.startedAt + settings.connectTimeoutMs, what: "dead" };
  if (link.probe !== undefined) return { at: link.probe.at + settings.pongTimeoutMs, what: "dead" };
  return link.heartbeatMs > 0 ? { at: link.heardAt + link.heartbeatMs, what: "ping" } : undefined;
}
