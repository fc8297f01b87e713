// The application's handle of a session. It does not know what becomes of a request.

import { Driver } from "./driver.js";
import { Emitter } from "./emitter.js";
import { WsClusterError } from "./errors.js";
import type { Event, Events, Member, Message, State } from "./events.js";
import { type Incoming, writeBody } from "./frame.js";
import { isMessageId, type MessageId } from "./id.js";
import { type Chosen, choose, type Options } from "./options.js";
import { Subscription } from "./subscription.js";

export interface SubscribeOptions {
  /** Begin after this message; `"0-0"` with everything that is kept. Default: from now on. */
  since?: MessageId;
  /** Be listed, and get `presence`, `join` and `leave`. */
  presence?: boolean;
  /** Leaves the room when aborted. */
  signal?: AbortSignal;
}

export interface RequestOptions {
  /** Stops waiting when aborted. A publish that was sent may be written nevertheless. */
  signal?: AbortSignal;
  /** In place of the client's `requestTimeoutMs`. */
  timeoutMs?: number;
}

export interface PublishOptions extends RequestOptions {
  /** A publish with a key that the room has seen within five minutes writes nothing. Default: a new one. */
  idempotencyKey?: string;
}

export interface HistoryOptions extends RequestOptions {
  /** Only older ones than this message. */
  before?: MessageId;
  /** 1 to 200; the gateway's default is 50. */
  limit?: number;
}

/** One session with a fleet of gateways: the connection below it may break, be drained or be replaced by another, while
 * the application goes on seeing each room's messages once and in order. */
export class Client extends Emitter<Events> {
  readonly #chosen: Chosen;
  readonly #driver: Driver;
  readonly #rooms = new Map<string, Subscription>();
  #state: State = "connecting";
  #node: string | undefined;
  #session: string | undefined;

  /** Connects at once, in the background. Throws a TypeError for a bad URL or option; everything later is an event. */
  constructor(url: string | URL, options: Options = {}) {
    super();
    this.#chosen = choose(url, options);
    this.#driver = new Driver(this.#chosen, (event) => this.#handle(event));
    onAbort(options.signal, () => void this.close());
  }

  get state(): State {
    return this.#state;
  }

  /** The gateway that serves the session, or did last. */
  get node(): string | undefined {
    return this.#node;
  }

  /** That gateway's name for the connection. */
  get session(): string | undefined {
    return this.#session;
  }

  /** The rooms that are subscribed to. */
  get rooms(): ReadonlyMap<string, Subscription> {
    return this.#rooms;
  }

  /** Joins a room. For a room that is subscribed to already: the same subscription (with presence, if it is new). */
  subscribe<Payload = unknown>(room: string, options: SubscribeOptions = {}): Subscription<Payload> {
    const { since, presence = false } = options;
    if (since !== undefined && !isMessageId(since)) throw new TypeError(`since: \`${since}\` is no message id`);
    if (this.#state === "closed") throw new WsClusterError("closed", "the client was closed");
    const known = this.#rooms.get(room);
    const subscription = known ?? new Subscription(this, room, since, this.#chosen.maxBuffered);
    this.#rooms.set(room, subscription);
    this.#driver.input({ type: "subscribe", room, since, presence });
    onAbort(options.signal, () => subscription.unsubscribe());
    return subscription as unknown as Subscription<Payload>;
  }

  unsubscribe(room: string): void {
    const subscription = this.#rooms.get(room);
    if (!this.#rooms.delete(room)) return;
    this.#driver.input({ type: "unsubscribe", room });
    subscription?.end("unsubscribed", "the room was left");
  }

  /** Writes a message and gives its id. While there is no connection it waits for one; a retry writes once. */
  async publish(room: string, payload: unknown, options: PublishOptions = {}): Promise<MessageId> {
    if (JSON.stringify(payload) === undefined) throw new TypeError("payload: a value that JSON can tell is needed");
    const idempotencyKey = options.idempotencyKey ?? randomKey();
    const body = writeBody({ type: "publish", room, payload, idempotencyKey });
    const { id } = await this.#ask("publish", body, options);
    if (id === undefined) throw new WsClusterError("uncertain", "the gateway named no id");
    return id;
  }

  /** A page of what was said before, oldest first. */
  async history<Payload = unknown>(
    room: string,
    options: HistoryOptions = {},
  ): Promise<{ readonly messages: Message<Payload>[]; readonly more: boolean }> {
    const { before, limit } = options;
    const { messages = [], more = false } = await this.#ask("history", writeBody({ type: "history", room, before, limit }), options);
    return { messages: messages.map((past) => ({ room, ...past }) as Message<Payload>), more };
  }

  /** Who is in a room now. */
  async presence(room: string, options: RequestOptions = {}): Promise<{ readonly members: readonly Member[]; readonly count: number }> {
    const { members = [], count } = await this.#ask("presence", writeBody({ type: "presence", room }), options);
    return { members, count: count ?? members.length };
  }

  /** Ends the session: `closed` follows, waiting requests fail. Resolves when the connections are closed. */
  close(): Promise<void> {
    return this.#driver.close();
  }

  #ask(kind: "publish" | "history" | "presence", body: string, options: RequestOptions): Promise<Incoming> {
    const { signal, timeoutMs = this.#chosen.requestTimeoutMs } = options;
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason);
      const aborted = () => {
        this.#driver.cancel(ticket);
        reject(signal?.reason);
      };
      const ticket = this.#driver.ask(kind, body, timeoutMs, (outcome) => {
        signal?.removeEventListener("abort", aborted);
        if (outcome.ok) resolve(outcome.frame);
        else reject(new WsClusterError(outcome.code, outcome.message));
      });
      signal?.addEventListener("abort", aborted, { once: true });
    });
  }

  #handle(event: Event): void {
    const { type, ...data } = event;
    if (event.type === "state") this.#state = event.state;
    if (event.type === "connected") this.#node = event.node;
    if (event.type === "moved") this.#node = event.to;
    if (event.type === "connected" || event.type === "moved") this.#session = event.session;
    if ("room" in event) {
      const subscription = this.#rooms.get(event.room);
      if (event.type === "refused") this.#rooms.delete(event.room);
      subscription?.handle(event);
    }
    this.emit(type, data as never);
    if (event.type === "closed") {
      for (const subscription of this.#rooms.values()) subscription.end("closed", event.reason);
      this.#rooms.clear();
    }
  }
}

function onAbort(signal: AbortSignal | undefined, action: () => void): void {
  if (signal?.aborted) queueMicrotask(action);
  else signal?.addEventListener("abort", action, { once: true });
}

/** 128 random bits. Not `randomUUID`: browsers have that on secure pages only. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
