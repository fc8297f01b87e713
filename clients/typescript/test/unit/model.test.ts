// A model of gateways, network and time against which the core is run with random interleavings: whatever happens, the
// application sees every entry after its position once and in order, and what it publishes is written once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Core, newCore, step } from "../../src/core/session.js";
import type { Effect, Input, LinkId } from "../../src/core/types.js";
import type { Event } from "../../src/events.js";
import type { Incoming } from "../../src/frame.js";
import { compareIds } from "../../src/id.js";
import { Chance } from "../shared/chance.js";

const ROOMS = ["lobby", "news"] as const;
const RUNS = Number(process.env["MODEL_RUNS"] ?? 1500);
const FIRST_SEED = Number(process.env["MODEL_SEED"] ?? 1);

type Request = { type: string; ref: number; room: string; since?: string; payload?: unknown; idempotencyKey?: string };

/** A connection as the gateway's end sees it. */
interface Server {
  open: boolean;
  readonly requests: Request[];
  readonly frames: Incoming[];
  readonly rooms: Set<string>;
}

class World {
  readonly chance: Chance;
  readonly core: Core;
  now = 0;
  readonly logs = new Map<string, { id: string; payload: unknown }[]>(ROOMS.map((room) => [room, []]));
  readonly keys = new Map<string, string>();
  readonly servers = new Map<LinkId, Server>();
  readonly positions = new Map<string, string>();
  readonly seen = new Map<string, string[]>(ROOMS.map((room) => [room, []]));
  readonly settled = new Map<number, string>();
  /** What must never happen in this world, where nothing is trimmed and no server is at fault. */
  readonly faults: string[] = [];
  #entries = 0;
  #published = 0;

  constructor(seed: number) {
    this.chance = new Chance(seed);
    const backoff = { baseMs: 500, maxMs: 20_000 };
    const patience = { connectTimeoutMs: 1e8, pongTimeoutMs: 1e8, stableAfterMs: 10_000, maxQueued: 1000, refreshBeforeMs: 30_000 };
    this.core = newCore({ backoff, ...patience, tokens: false }, this.chance.fraction);
    this.input({ type: "subscribe", room: "lobby", presence: false });
  }

  /** One random thing. */
  act(): void {
    const link = this.#pick(true);
    const waiting = this.#pick(false);
    const room = this.chance.pick(ROOMS) ?? "lobby";
    const choice = this.chance.integer(33);
    if (choice < 6) this.append(room, null);
    else if (choice < 10) waiting !== undefined && this.answerHandshake(waiting);
    else if (choice < 11) waiting !== undefined && this.end(waiting, 1006);
    else if (choice < 15) link !== undefined && this.serve(link);
    else if (choice < 21) link !== undefined && this.deliver(link);
    else if (choice < 23) link !== undefined && this.drain(link);
    else if (choice < 24) link !== undefined && this.end(link, this.chance.pick([1001, 1006, 1012, 1013, 4408]) ?? 1006);
    else if (choice < 27) this.wait(1 + this.chance.integer(2000));
    else if (choice < 28) this.input({ type: "subscribe", room, presence: false });
    else if (choice < 31) this.publish();
    else if (choice < 32) this.input({ type: "wake" });
    else link !== undefined && this.servers.get(link)?.frames.push({ type: "drainCancelled" });
  }

  append(room: string, payload: unknown): string {
    this.#entries += 1;
    const id = `${1000 + Math.floor(this.#entries / 3)}-${this.#entries % 3}`;
    this.logs.get(room)?.push({ id, payload });
    for (const server of this.servers.values()) if (server.rooms.has(room)) server.frames.push(message(room, id));
    return id;
  }

  publish(): void {
    this.#published += 1;
    const ticket = this.#published;
    const body = JSON.stringify({ type: "publish", room: "lobby", payload: ticket, idempotencyKey: `k${ticket}` }).slice(0, -1);
    this.input({ type: "ask", ticket, ask: { kind: "publish", body, timeoutMs: 1e9 } });
  }

  answerHandshake(link: LinkId): void {
    const server = this.servers.get(link)!;
    server.open = true;
    // A few gateways, so that the one that is being left is met again.
    server.frames.push({ type: "welcome", node: `n${link % 3}`, session: "s", heartbeatMs: 0 });
    this.input({ type: "opened", link });
  }

  /** The gateway reads one request. */
  serve(link: LinkId): void {
    const server = this.servers.get(link)!;
    const request = server.requests.shift();
    if (request?.type === "publish") this.#write(server, request);
    else if (request?.type === "subscribe") this.#subscribe(server, request);
    else if (request?.type === "ping") server.frames.push({ type: "pong", ref: request.ref });
  }

  #write(server: Server, { ref, room, payload, idempotencyKey = "" }: Request): void {
    if (this.chance.integer(10) === 0) return void server.frames.push({ type: "error", ref, code: "unavailable" });
    const id = this.keys.get(idempotencyKey) ?? this.append(room, payload);
    this.keys.set(idempotencyKey, id);
    server.frames.push({ type: "ok", ref, id });
  }

  #subscribe(server: Server, { ref, room, since }: Request): void {
    const log = this.logs.get(room) ?? [];
    const position = since ?? log.at(-1)?.id ?? "0-0";
    const missed = log.filter(({ id }) => compareIds(id, position) > 0);
    server.frames.push({ type: "subscribed", ref, room, position, recovered: true, replayed: missed.length });
    server.frames.push(...missed.map(({ id }) => message(room, id)));
    server.rooms.add(room);
  }

  deliver(link: LinkId): void {
    const frame = this.servers.get(link)?.frames.shift();
    if (frame !== undefined) this.input({ type: "frame", link, frame });
  }

  drain(link: LinkId): void {
    const retryAfterMs = this.chance.integer(300);
    const deadlineMs = retryAfterMs + this.chance.integer(5000);
    this.servers.get(link)?.frames.push({ type: "drain", retryAfterMs, deadlineMs });
  }

  end(link: LinkId, code: number): void {
    this.servers.delete(link);
    this.input({ type: "ended", link, code, reason: "" });
  }

  wait(ms: number): void {
    this.now += ms;
    this.input({ type: "tick" });
  }

  input(input: Input): void {
    for (const effect of step(this.core, input, this.now)) this.#carryOut(effect);
  }

  #carryOut(effect: Effect): void {
    if (effect.type === "open") {
      this.servers.set(effect.link, { open: false, requests: [], frames: [], rooms: new Set() });
      if (this.servers.size > 2) this.faults.push("more than two connections");
    } else if (effect.type === "send") {
      const server = this.servers.get(effect.link);
      if (server?.open === true) server.requests.push(JSON.parse(effect.text) as Request);
      else this.faults.push(`sent on a connection that is not open: ${effect.text}`);
    } else if (effect.type === "leave" || effect.type === "abort") {
      // What the gateway has read by then takes effect; the answer is lost.
      const server = this.servers.get(effect.link);
      while (server !== undefined && server.requests.length > 0 && this.chance.integer(2) === 0) this.serve(effect.link);
      if (!this.servers.delete(effect.link)) this.faults.push(`${effect.type} of a connection that is gone`);
    } else if (effect.type === "settle") {
      const outcome = effect.outcome.ok ? (effect.outcome.frame.id ?? "no id") : effect.outcome.code;
      if (this.settled.has(effect.ticket)) this.faults.push(`settled twice: ${effect.ticket}`);
      this.settled.set(effect.ticket, outcome);
    } else if (effect.type === "emit") {
      this.#see(effect.event);
    } else {
      this.faults.push(effect.type);
    }
  }

  #see(event: Event): void {
    if (event.type === "subscribed") {
      if (this.positions.has(event.room)) this.faults.push(`${event.room} subscribed twice`);
      this.positions.set(event.room, event.position);
    } else if (event.type === "message") {
      this.seen.get(event.room)?.push(event.id);
    } else if (["resync", "refused", "closed", "error"].includes(event.type)) {
      this.faults.push(JSON.stringify(event));
    }
  }

  /** Lets everything that is under way arrive. */
  settle(): void {
    for (let round = 0; round < 400; round++) {
      this.wait(30_000);
      for (const [link, server] of [...this.servers]) {
        if (!server.open && this.servers.has(link)) this.answerHandshake(link);
        for (let times = 0; times < 4; times++) {
          while (server.requests.length > 0 && this.servers.has(link)) this.serve(link);
          while (server.frames.length > 0 && this.servers.has(link)) this.deliver(link);
        }
      }
      const idle = [...this.servers.values()].every(({ frames, requests }) => frames.length === 0 && requests.length === 0);
      const serving = [...this.servers.values()].some(({ rooms }) => rooms.size === this.core.rooms.size);
      if (idle && serving && this.core.next === undefined && this.core.requests.length === 0) return;
    }
    this.faults.push("the session did not come to rest");
  }

  check(): void {
    assert.deepEqual(this.faults, []);
    for (const [room, position] of this.positions) {
      const expected = this.logs.get(room)?.map(({ id }) => id).filter((id) => compareIds(id, position) > 0);
      assert.deepEqual(this.seen.get(room), expected, `in ${room} after ${position}`);
    }
    assert.equal(this.positions.size, this.core.rooms.size, "every room was subscribed in the end");
    const written = (this.logs.get("lobby") ?? []).filter(({ payload }) => payload !== null);
    const tickets = Array.from({ length: this.#published }, (_, index) => index + 1);
    assert.deepEqual(written.map(({ payload }) => payload as number).sort((a, b) => a - b), tickets, "each publish was written once");
    for (const { id, payload } of written) assert.equal(this.settled.get(payload as number), id, `the answer to ${String(payload)}`);
  }

  #pick(open: boolean): LinkId | undefined {
    return this.chance.pick([...this.servers].filter(([, server]) => server.open === open).map(([link]) => link));
  }
}

function message(room: string, id: string): Incoming {
  return { type: "message", room, id, timestamp: 0, payload: null };
}

test(`whatever happens, each entry is seen once and in order, and each publish is written once (${RUNS} orders)`, () => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + RUNS; seed++) {
    const world = new World(seed);
    try {
      for (let steps = world.chance.integer(160); steps > 0; steps--) world.act();
      world.settle();
      world.check();
    } catch (error) {
      throw new Error(`MODEL_SEED=${seed} MODEL_RUNS=1 repeats it`, { cause: error });
    }
  }
});
