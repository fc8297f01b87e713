// What the application gets to know. Plain data; it does not know how it came about.

import type { MessageId } from "./id.js";

/** A message of a room. Ids within a room only ever grow. */
export interface Message<Payload = unknown> {
  readonly room: string;
  readonly id: MessageId;
  /** The writer's clock, in milliseconds since the Unix epoch. */
  readonly timestamp: number;
  readonly payload: Payload;
}

/** Somebody in a room. */
export interface Member {
  /** The gateway's name for a connection. It changes when a session moves to another gateway. */
  readonly session: string;
  /** Who that is, by the token; absent for an anonymous one. */
  readonly user?: string | null;
}

/**
 * - `connecting`: a first or a new connection is being made
 * - `connected`
 * - `moving`: connected, and a next connection is being made because the gateway drains
 * - `waiting`: not connected; the next attempt follows after a delay
 * - `closed`: over for good
 */
export type State = "connecting" | "connected" | "moving" | "waiting" | "closed";

/** Every event of a client, by its name. */
export interface Events {
  /** A connection took over the session: the first one, or one after a break. */
  connected: { readonly node: string; readonly session: string };
  /** The connection ended before another had taken over. `announced`: a drain notice had come before. */
  disconnected: { readonly code: number; readonly reason: string; readonly announced: boolean };
  /** The first confirmation of a room: every message after `position` will be delivered. */
  subscribed: { readonly room: string; readonly position: MessageId };
  /** The gateway refused a room, for good: the client no longer asks for it. */
  refused: { readonly room: string; readonly code: string; readonly message: string };
  message: Message;
  /** A room went on from its cursor on another connection, and the gateway proved that nothing is missing. */
  recovered: { readonly room: string; readonly replayed: number };
  /** What the application holds of a room may have a hole: fetch a snapshot. The room goes on after `position`. */
  resync: { readonly room: string; readonly reason: string; readonly position: MessageId };
  /** Who is in a room, after each (re)subscription; later changes come as `join` and `leave`. */
  presence: { readonly room: string; readonly members: readonly Member[]; readonly count: number };
  join: { readonly room: string; readonly members: readonly Member[]; readonly count: number };
  leave: { readonly room: string; readonly members: readonly Member[]; readonly count: number };
  /** The gateway asks the session to move. The client does so by itself. */
  drain: { readonly retryAfterMs: number; readonly deadlineMs: number };
  /** The gateway no longer asks for that: the session stays. */
  drainCancelled: { readonly node: string };
  /** The session changed its connection with no interruption. */
  moved: { readonly from: string; readonly to: string; readonly session: string };
  state: { readonly state: State; readonly retryInMs?: number };
  /** Something failed that belongs to no request, and the session goes on. */
  error: { readonly code: string; readonly message: string };
  /** The session is over; nothing follows. */
  closed: { readonly code: number; readonly reason: string };
}

/** One event with its name. */
export type Event = { [Name in keyof Events]: { readonly type: Name } & Events[Name] }[keyof Events];
