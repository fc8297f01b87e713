// The core, told what happens line by line; its effects read as lines too.

import { type Core, newCore, step, wakeup } from "../../src/core/session.js";
import type { Effect, Input, Settings } from "../../src/core/types.js";
import type { Event } from "../../src/events.js";
import type { Incoming } from "../../src/frame.js";

/** Retries come at once, so that a script need not know chance. */
const SETTINGS: Settings = {
  backoff: { baseMs: 1, maxMs: 1 },
  connectTimeoutMs: 10_000,
  pongTimeoutMs: 500,
  stableAfterMs: 10_000,
  maxQueued: 100,
  refreshBeforeMs: 30_000,
  tokens: false,
};

export class Script {
  readonly core: Core;
  now = 0;

  constructor(settings: Partial<Settings> = {}) {
    this.core = newCore({ ...SETTINGS, ...settings }, () => 0);
  }

  /** A session in `lobby` at position 5-0, served by gateway `a` on link 1. */
  static served(settings: Partial<Settings> = {}, presence = false): Script {
    const script = new Script(settings);
    script.step({ type: "subscribe", room: "lobby", presence });
    script.wait(0);
    script.open(1, "a");
    script.frame(1, { type: "subscribed", ref: 1, room: "lobby", position: "5-0" });
    return script;
  }

  step(input: Input): string[] {
    return step(this.core, input, this.now).map(describe).filter((line) => !line.startsWith("state "));
  }

  /** The same with the changes of state alone. */
  states(input: Input): string[] {
    return step(this.core, input, this.now).map(describe).filter((line) => line.startsWith("state "));
  }

  wait(ms: number): string[] {
    this.now += ms;
    return this.step({ type: "tick" });
  }

  open(link: number, node: string, welcome: Partial<Incoming> = {}): string[] {
    const opened = this.step({ type: "opened", link });
    return [...opened, ...this.frame(link, { type: "welcome", node, session: `s${link}`, heartbeatMs: 1000, maxMessageBytes: 1000, ...welcome })];
  }

  frame(link: number, frame: Incoming): string[] {
    return this.step({ type: "frame", link, frame });
  }

  message(link: number, id: string): string[] {
    return this.frame(link, { type: "message", room: "lobby", id, timestamp: 1, payload: 0 });
  }

  closed(link: number, code: number): string[] {
    return this.step({ type: "ended", link, code, reason: "why" });
  }

  publish(ticket: number, timeoutMs = 60_000): string[] {
    const body = `{"type":"publish","room":"lobby","payload":${ticket}`;
    return this.step({ type: "ask", ticket, ask: { kind: "publish", body, timeoutMs } });
  }

  drain(link: number, retryAfterMs: number, deadlineMs: number): string[] {
    return this.frame(link, { type: "drain", retryAfterMs, deadlineMs });
  }

  /** Milliseconds until the core wants to be woken. */
  get due(): number | undefined {
    const at = wakeup(this.core);
    return at === undefined ? undefined : at - this.now;
  }
}

function describe(effect: Effect): string {
  switch (effect.type) {
    case "send": {
      const frame = JSON.parse(effect.text) as Record<string, unknown>;
      const parts = ["type", "room", "since", "token", "payload"].map((key) => frame[key]).filter((part) => part !== undefined);
      return `send ${effect.link} ${parts.join(" ")}${frame["presence"] === true ? " presence" : ""}`;
    }
    case "settle":
      return `settle ${effect.ticket} ${effect.outcome.ok ? (effect.outcome.frame.id ?? effect.outcome.frame.type) : effect.outcome.code}`;
    case "token":
      return effect.refused ? "token refused" : "token";
    case "emit":
      return describeEvent(effect.event);
    default:
      return `${effect.type} ${effect.link}`;
  }
}

function describeEvent(event: Event): string {
  switch (event.type) {
    case "connected":
      return `connected ${event.node}`;
    case "subscribed":
      return `subscribed ${event.room} ${event.position}`;
    case "message":
      return `message ${event.id}`;
    case "recovered":
      return `recovered ${event.room} ${event.replayed}`;
    case "resync":
      return `resync ${event.room} ${event.reason}`;
    case "moved":
      return `moved ${event.from} ${event.to}`;
    case "disconnected":
      return `disconnected ${event.code}${event.announced ? " announced" : ""}`;
    case "presence":
    case "join":
    case "leave":
      return `${event.type} ${event.room} ${event.count}`;
    case "refused":
      return `refused ${event.room} ${event.code}`;
    case "error":
      return `error ${event.code}`;
    case "state":
      return `state ${event.state}`;
    default:
      return event.type;
  }
}
