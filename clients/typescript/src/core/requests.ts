// Publishes, history and presence of the application: queued while there is no connection, sent in their order, sent
// again when a connection was lost or a gateway refused for the moment. It does not know why a connection ended.
//
// A publish may be sent again because it carries an idempotency key: a gateway writes a key once within five minutes.

import { ceilingMs } from "../backoff.js";
import type { Incoming } from "../frame.js";
import { isReady, type Link, request as sendRequest } from "./link.js";
import { type Core, nextIsReady, type Request } from "./state.js";
import type { Ask, LinkId, Outcome, Ticket } from "./types.js";

/** Requests sent and not answered yet. Few enough that a gateway's rate limit is met early, not after the whole queue. */
const WINDOW = 64;
/** A request on whose way so many connections were closed for a fault may be that fault. */
const MAX_FAULTS = 5;
/** Message too big, internal error. */
const FAULTS = new Set([1009, 1011]);
/** Less than the five minutes for which a gateway remembers a key. */
const KEY_LIFE_MS = 4 * 60_000;
/** How long a cut-over waits for answers on the old connection. */
const PATIENCE_MS = 3000;
/** `rate_limited` passes within a second (docs/protocol.md). */
const RATE_LIMITED_MS = 1000;

export function ask(core: Core, ticket: Ticket, what: Ask, now: number): void {
  if (core.requests.length >= core.settings.maxQueued) {
    const message = `${core.settings.maxQueued} requests are waiting`;
    core.effects.push({ type: "settle", ticket, outcome: { ok: false, code: "queue_full", message } });
    return;
  }
  const deadline = now + what.timeoutMs;
  core.requests.push({ ticket, ask: what, deadline, link: undefined, firstSentAt: undefined, refusals: 0, faults: 0 });
}

/** Forgets a request; nobody waits for it any more. */
export function cancel(core: Core, ticket: Ticket): void {
  core.requests = core.requests.filter((request) => request.ticket !== ticket);
}

/** Sends what may be sent now. */
export function flush(core: Core, now: number): void {
  const link = core.current;
  if (!isReady(link, core.settings) || nextIsReady(core)) return;
  if (core.pause !== undefined && (core.pause.until > now || core.requests.length === 0)) {
    if (core.requests.length === 0) core.pause = undefined;
    return;
  }
  let free = (core.pause === undefined ? WINDOW : 1) - core.requests.filter((request) => request.link !== undefined).length;
  for (const request of core.requests.filter((request) => request.link === undefined)) {
    if (free <= 0) return;
    if (mayBeSent(core, request, link, now)) {
      dispatch(core, request, link, now);
      free -= 1;
    }
  }
}

function mayBeSent(core: Core, request: Request, link: Link, now: number): boolean {
  const size = new TextEncoder().encode(request.ask.body).length + 24; // with its `ref`
  if (size > link.maxMessageBytes) {
    fail(core, request, "too_large", `${size} bytes, and the gateway takes ${link.maxMessageBytes}`);
  } else if (request.firstSentAt !== undefined && now - request.firstSentAt > KEY_LIFE_MS) {
    fail(core, request, "uncertain", "the gateway may have forgotten the idempotency key");
  } else if (request.faults >= MAX_FAULTS) {
    fail(core, request, "uncertain", `sent ${request.faults} times, and the gateway closed the connection each time`);
  } else {
    return true;
  }
  return false;
}

function dispatch(core: Core, request: Request, link: Link, now: number): void {
  request.link = link.id;
  request.firstSentAt ??= now;
  sendRequest(link, { type: "request", ticket: request.ticket }, request.ask.body, core.effects);
}

/** An answer came. */
export function succeed(core: Core, ticket: Ticket, frame: Incoming): void {
  settle(core, ticket, { ok: true, frame });
}

/** A refusal came: for good, or one that may be gone in a moment. */
export function refuse(core: Core, ticket: Ticket, code: string, message: string, now: number): void {
  const request = core.requests.find((request) => request.ticket === ticket);
  if (request === undefined) return;
  if (!passes(code)) return fail(core, request, code, message);
  const delay = code === "rate_limited" ? RATE_LIMITED_MS : ceilingMs(core.settings.backoff, request.refusals) / 2;
  request.link = undefined;
  request.refusals += 1;
  core.pause = { until: now + delay * (1 + core.chance()) };
}

/** Whether a refusal may be gone in a moment. */
export function passes(code: string): boolean {
  return code === "unavailable" || code === "rate_limited";
}

/** What was sent there and not answered waits again. */
export function returnAll(core: Core, link: LinkId, code: number): void {
  for (const request of core.requests.filter((request) => request.link === link)) {
    request.link = undefined;
    if (FAULTS.has(code)) request.faults += 1;
  }
}

/** Ends the requests that nobody wants to wait for any longer. */
export function expire(core: Core, now: number): void {
  for (const request of core.requests.filter((request) => request.deadline <= now)) {
    const uncertain = request.firstSentAt !== undefined && request.ask.kind === "publish";
    fail(core, request, uncertain ? "uncertain" : "timeout", `no answer within ${request.ask.timeoutMs} ms`);
  }
}

/** Ends all requests: the session is over. */
export function failAll(core: Core, reason: string): void {
  for (const request of [...core.requests]) {
    const uncertain = request.firstSentAt !== undefined && request.ask.kind === "publish";
    fail(core, request, uncertain ? "uncertain" : "closed", reason);
  }
}

/** Whether the old connection may be left: nothing waits for an answer there, or we have waited long enough. */
export function mayLeave(core: Core, now: number): boolean {
  const waiting = core.requests.some((request) => request.link !== undefined && request.link === core.current?.id);
  core.readySince ??= now;
  return !waiting || now >= core.readySince + PATIENCE_MS;
}

/** When requests have something to do by themselves. */
export function requestTimes(core: Core): (number | undefined)[] {
  const paused = core.requests.some((request) => request.link === undefined);
  const times: (number | undefined)[] = core.requests.map((request) => request.deadline);
  times.push(paused ? core.pause?.until : undefined);
  times.push(core.readySince === undefined ? undefined : core.readySince + PATIENCE_MS);
  return times;
}

function fail(core: Core, request: Request, code: string, message: string): void {
  settle(core, request.ticket, { ok: false, code, message });
}

function settle(core: Core, ticket: Ticket, outcome: Outcome): void {
  if (!core.requests.some((request) => request.ticket === ticket)) return;
  cancel(core, ticket);
  core.effects.push({ type: "settle", ticket, outcome });
}
