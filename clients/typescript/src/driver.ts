// Sockets, timers and the token callback: moves what happens into the core and carries out what it answers. It decides
// nothing: which connection serves, when to retry and what the application sees is the core's.

import { type Core, newCore, step, wakeup } from "./core/session.js";
import type { Effect, Input, LinkId, Outcome, Ticket } from "./core/types.js";
import type { Event } from "./events.js";
import { readFrame, SUBPROTOCOL } from "./frame.js";
import type { Chosen, Socket } from "./options.js";
import { readToken } from "./token.js";

/** Longest wait that a timer of the platforms takes. */
const LONGEST_MS = 2 ** 31 - 1;
/** How long a goodbye may take. */
const GOODBYE_MS = 3000;

type Settle = (outcome: Outcome) => void;

export class Driver {
  readonly #chosen: Chosen;
  readonly #core: Core;
  readonly #deliver: (event: Event) => void;
  readonly #sockets = new Map<LinkId, Socket>();
  readonly #goodbyes = new Set<Promise<void>>();
  readonly #settlers = new Map<Ticket, Settle>();
  readonly #inputs: Input[] = [];
  readonly #over = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #lastTicket = 0;
  #stepping = false;

  constructor(chosen: Chosen, deliver: (event: Event) => void) {
    this.#chosen = chosen;
    this.#deliver = deliver;
    this.#core = newCore(chosen.settings, Math.random);
    this.#timer = setTimeout(() => this.input({ type: "tick" }), 0);
    this.#watchPage();
  }

  /** Something happened. What happens meanwhile (a listener that publishes) waits for its turn. */
  input(input: Input): void {
    this.#inputs.push(input);
    if (this.#stepping) return;
    this.#stepping = true;
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
      for (const effect of step(this.#core, next, performance.now())) this.#carryOut(effect);
    }
    this.#stepping = false;
    this.#arm();
  }

  /** Asks the gateway; `settle` is called once. */
  ask(kind: "publish" | "history" | "presence", body: string, timeoutMs: number, settle: Settle): Ticket {
    this.#lastTicket += 1;
    const ticket = this.#lastTicket;
    this.#settlers.set(ticket, settle);
    this.input({ type: "ask", ticket, ask: { kind, body, timeoutMs } });
    return ticket;
  }

  /** Nobody waits for that answer any more. */
  cancel(ticket: Ticket): void {
    if (this.#settlers.delete(ticket)) this.input({ type: "cancel", ticket });
  }

  /** Says goodbye, and resolves when the connections are closed. */
  async close(): Promise<void> {
    this.input({ type: "close" });
    await Promise.all(this.#goodbyes);
  }

  #carryOut(effect: Effect): void {
    switch (effect.type) {
      case "token":
        return void this.#fetchToken(effect.refused);
      case "open":
        return this.#open(effect.link);
      case "send":
        return this.#sockets.get(effect.link)?.send(effect.text);
      case "leave":
        return this.#leave(effect.link);
      case "abort":
        return this.#abort(effect.link);
      case "emit":
        if (effect.event.type === "closed") this.#over.abort();
        return this.#deliver(effect.event);
      case "settle":
        return this.#settle(effect.ticket, effect.outcome);
    }
  }

  #settle(ticket: Ticket, outcome: Outcome): void {
    const settle = this.#settlers.get(ticket);
    this.#settlers.delete(ticket);
    settle?.(outcome);
  }

  async #fetchToken(refused: boolean): Promise<void> {
    try {
      const given = await this.#chosen.token?.({ refused, signal: this.#over.signal });
      if (given === undefined) throw new TypeError("token: the callback gave none");
      this.input({ type: "token", ...readToken(given, Date.now()) });
    } catch (error) {
      this.input({ type: "tokenFailed", message: error instanceof Error ? error.message : String(error) });
    }
  }

  #open(link: LinkId): void {
    let socket: Socket;
    try {
      socket = new this.#chosen.socket(this.#chosen.url, SUBPROTOCOL);
    } catch (error) {
      // The page's policy forbids it, or does for now.
      return this.input({ type: "ended", link, code: 1006, reason: String(error) });
    }
    this.#sockets.set(link, socket);
    let broke = "";
    socket.onopen = () => this.input({ type: "opened", link });
    socket.onmessage = (event: { data: unknown }) => this.#arrived(link, event.data);
    socket.onerror = (event: { message?: string }) => {
      broke = event.message ?? "";
    };
    socket.onclose = (event: { code?: number; reason?: string }) => {
      this.#sockets.delete(link);
      // 1005: a close frame without a code. Its sender wanted to end the connection and said no more.
      this.input({ type: "ended", link, code: event.code ?? 1006, reason: event.reason || broke });
    };
  }

  #arrived(link: LinkId, data: unknown): void {
    const frame = typeof data === "string" ? readFrame(data) : undefined;
    if (frame !== undefined) this.input({ type: "frame", link, frame });
    else this.#deliver({ type: "error", code: "bad_frame", message: "the gateway sent what is no frame of the protocol" });
  }

  #leave(link: LinkId): void {
    const socket = this.#forget(link);
    if (socket === undefined) return;
    const goodbye = farewell(socket).finally(() => this.#goodbyes.delete(goodbye));
    this.#goodbyes.add(goodbye);
  }

  #abort(link: LinkId): void {
    const socket = this.#forget(link);
    if (socket?.terminate !== undefined) socket.terminate();
    else socket?.close();
  }

  #forget(link: LinkId): Socket | undefined {
    const socket = this.#sockets.get(link);
    this.#sockets.delete(link);
    if (socket !== undefined) {
      [socket.onopen, socket.onmessage, socket.onclose] = [null, null, null];
      socket.onerror = () => {}; // `ws` throws an error that nobody hears
    }
    return socket;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const at = wakeup(this.#core);
    if (at === undefined) return;
    const wait = Math.min(Math.max(1, Math.ceil(at - performance.now())), LONGEST_MS);
    this.#timer = setTimeout(() => this.input({ type: "tick" }), wait);
  }

  /** A page that comes back, and a network that comes back, are looked after at once. */
  #watchPage(): void {
    const { signal } = this.#over;
    const wake = () => this.input({ type: "wake" });
    if (typeof window !== "undefined") window.addEventListener?.("online", wake, { signal });
    if (typeof document === "undefined") return;
    document.addEventListener?.("visibilitychange", () => document.visibilityState === "visible" && wake(), { signal });
  }
}

/** Resolves when the other side has answered, or had time enough to. */
function farewell(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      socket.terminate?.();
      resolve();
    }, GOODBYE_MS);
    socket.onclose = () => {
      clearTimeout(timer);
      resolve();
    };
    socket.close(1000, "bye");
  });
}
