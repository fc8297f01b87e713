// A room as the application holds it: its listeners, its members, its messages as an iteration. It does not know how the
// room is kept alive.

import type { Client, PublishOptions } from "./client.js";
import { Emitter } from "./emitter.js";
import { WsClusterError } from "./errors.js";
import type { Event, Events, Member, Message } from "./events.js";
import type { MessageId } from "./id.js";

type RoomName = "subscribed" | "refused" | "message" | "recovered" | "resync" | "presence" | "join" | "leave";

/** The events of one room. */
export type RoomEvents<Payload = unknown> = Omit<Pick<Events, RoomName>, "message"> & { message: Message<Payload> };

export class Subscription<Payload = unknown> extends Emitter<RoomEvents<Payload>> implements AsyncIterable<Message<Payload>> {
  readonly room: string;
  /** Resolves when the gateway has confirmed the room, rejects when it refused. */
  readonly ready: Promise<{ readonly position: MessageId }>;
  readonly #client: Client;
  readonly #maxBuffered: number;
  readonly #members = new Map<string, Member>();
  readonly #iterations = new Set<Iteration<Payload>>();
  #cursor: MessageId | undefined;
  #count = 0;
  #over = false;
  #resolve!: (value: { readonly position: MessageId }) => void;
  #reject!: (error: WsClusterError) => void;

  /** Made by `Client.subscribe`. @internal */
  constructor(client: Client, room: string, since: MessageId | undefined, maxBuffered: number) {
    super();
    this.#client = client;
    this.room = room;
    this.#cursor = since;
    this.#maxBuffered = maxBuffered;
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(() => {}); // whoever does not ask need not be told
  }

  /** The last message that was delivered, or where the room began: keep it, and give it as `since` another time. */
  get cursor(): MessageId | undefined {
    return this.#cursor;
  }

  /** Who is here, with `presence: true`; in a large room a part of them (`count` is all). */
  get members(): readonly Member[] {
    return [...this.#members.values()];
  }

  /** How many are here, with `presence: true`. */
  get count(): number {
    return this.#count;
  }

  publish(payload: Payload, options?: PublishOptions): Promise<MessageId> {
    return this.#client.publish(this.room, payload, options);
  }

  /** Leaves the room. Iterations over it end. */
  unsubscribe(): void {
    this.#client.unsubscribe(this.room);
  }

  /** Every message from now on. Ends when the room is left or the client is closed. */
  [Symbol.asyncIterator](): AsyncIterator<Message<Payload>, undefined> {
    const iteration = new Iteration<Payload>(this.#maxBuffered, () => this.#iterations.delete(iteration));
    if (this.#over) iteration.end();
    else this.#iterations.add(iteration);
    return iteration;
  }

  /** Something happened in the room. @internal */
  handle(event: Event & { type: RoomName }): void {
    const { type, ...data } = event;
    if (event.type === "subscribed" || event.type === "resync") this.#cursor = event.position;
    if (event.type === "presence") this.#members.clear();
    if (event.type === "presence" || event.type === "join") for (const member of event.members) this.#members.set(member.session, member);
    if (event.type === "leave") for (const member of event.members) this.#members.delete(member.session);
    if ("count" in event) this.#count = event.count;
    if (event.type === "subscribed") this.#resolve({ position: event.position });
    if (event.type === "message") {
      this.#cursor = event.id;
      for (const iteration of this.#iterations) iteration.push(data as unknown as Message<Payload>);
    }
    this.emit(type, data as never);
    if (event.type === "refused") this.end(event.code, event.message);
  }

  /** Nothing follows. @internal */
  end(code: string, message: string): void {
    this.#over = true;
    this.#reject(new WsClusterError(code, message));
    for (const iteration of this.#iterations) iteration.end();
  }
}

/** Messages that wait for whoever iterates. */
class Iteration<Payload> implements AsyncIterator<Message<Payload>, undefined> {
  readonly #waiting: Message<Payload>[] = [];
  readonly #max: number;
  readonly #done: () => void;
  #wanted: { resolve: (result: IteratorResult<Message<Payload>, undefined>) => void; reject: (error: Error) => void }[] = [];
  #error: Error | undefined;
  #over = false;

  constructor(max: number, done: () => void) {
    this.#max = max;
    this.#done = done;
  }

  push(message: Message<Payload>): void {
    const wanted = this.#wanted.shift();
    if (wanted !== undefined) return wanted.resolve({ value: message, done: false });
    if (this.#waiting.length >= this.#max) {
      this.#error = new WsClusterError("too_slow", `the iteration is more than ${this.#max} messages behind`);
      return this.end();
    }
    this.#waiting.push(message);
  }

  end(): void {
    this.#over = true;
    this.#done();
    for (const { resolve } of this.#wanted.splice(0)) resolve({ value: undefined, done: true });
  }

  next(): Promise<IteratorResult<Message<Payload>, undefined>> {
    const value = this.#waiting.shift();
    if (value !== undefined) return Promise.resolve({ value, done: false });
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) return Promise.reject(error);
    if (this.#over) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve, reject) => this.#wanted.push({ resolve, reject }));
  }

  return(): Promise<IteratorResult<Message<Payload>, undefined>> {
    this.#waiting.length = 0;
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }
}
