// All of a session's state apart from its sockets, and the small steps that every part of the core takes.

import { delayMs } from "../backoff.js";
import type { Event, State as Stage } from "../events.js";
import type { MessageId } from "../id.js";
import { isReady, type Link } from "./link.js";
import type { Ask, Effect, LinkId, Settings, Ticket } from "./types.js";

/** A room as the session sees it, whatever connection serves it. */
export interface Room {
  /** The last entry that the application has seen, or where it begins; undefined until a gateway has said. */
  cursor: MessageId | undefined;
  /** Whether the application was told that the room is subscribed. */
  announced: boolean;
  presence: boolean;
}

/** A request on its way: it waits for a connection, or for an answer. */
export interface Request {
  readonly ticket: Ticket;
  readonly ask: Ask;
  readonly deadline: number;
  /** Where it was sent and is not answered yet; undefined while it waits. */
  link: LinkId | undefined;
  firstSentAt: number | undefined;
  /** Refusals for the moment. */
  refusals: number;
  /** Connections that were closed for a fault while this request was on its way. */
  faults: number;
}

export interface Token {
  readonly text: string;
  /** When to ask for the next one; undefined when its life is unknown. */
  readonly refreshAt: number | undefined;
}

export interface Core {
  readonly settings: Settings;
  /** A number from 0 (included) to 1 (excluded). */
  readonly chance: () => number;
  readonly rooms: Map<string, Room>;
  /** The connection that serves the session. */
  current: Link | undefined;
  /** The connection that will take over. */
  next: Link | undefined;
  lastLink: LinkId;
  /** When to open a connection: the current one, or the next one of a drain. */
  openAt: number | undefined;
  failures: number;
  /** Requests, oldest first. */
  requests: Request[];
  /** Until then nothing more is sent, and one at a time after it until the queue is empty: a gateway refused. */
  pause: { readonly until: number } | undefined;
  token: Token | undefined;
  /** The application was asked for a token; `open`: a connection waits for it. */
  tokenAsked: { open: boolean } | undefined;
  /** Tokens refused one after the other. */
  tokenRefusals: number;
  refreshAt: number | undefined;
  /** When everything was ready for the cut-over but for answers on the old connection. */
  readySince: number | undefined;
  stage: Stage;
  effects: Effect[];
}

/** A session that will connect at its first tick. */
export function newCore(settings: Settings, chance: () => number): Core {
  return {
    settings,
    chance,
    rooms: new Map(),
    current: undefined,
    next: undefined,
    lastLink: 0,
    openAt: 0,
    failures: 0,
    requests: [],
    pause: undefined,
    token: undefined,
    tokenAsked: undefined,
    tokenRefusals: 0,
    refreshAt: undefined,
    readySince: undefined,
    stage: "connecting",
    effects: [],
  };
}

export function emit(core: Core, event: Event): void {
  core.effects.push({ type: "emit", event });
}

export function links(core: Core): Link[] {
  return [core.current, core.next].filter((link) => link !== undefined);
}

export function findLink(core: Core, id: LinkId): Link | undefined {
  return links(core).find((link) => link.id === id);
}

/** The delay before the next attempt, which counts as one more that has failed. */
export function nextDelay(core: Core): number {
  const delay = delayMs(core.settings.backoff, core.failures, core.chance());
  core.failures += 1;
  return delay;
}

/** Whether the next connection can take over: it serves every room. */
export function nextIsReady(core: Core): boolean {
  const { next } = core;
  if (!isReady(next, core.settings)) return false;
  return [...core.rooms.keys()].every((room) => next.rooms.get(room)?.confirmed === true);
}

/** Tells the application when the session's stage has changed. */
export function announceStage(core: Core, now: number): void {
  const stage = stageOf(core);
  if (stage === core.stage) return;
  core.stage = stage;
  const waiting = stage === "waiting" && core.openAt !== undefined;
  emit(core, { type: "state", state: stage, ...(waiting ? { retryInMs: Math.max(0, core.openAt! - now) } : {}) });
}

function stageOf(core: Core): Stage {
  if (core.stage === "closed") return "closed";
  if (isReady(core.current, core.settings)) return core.next === undefined ? "connected" : "moving";
  return core.current === undefined && core.openAt !== undefined ? "waiting" : "connecting";
}
