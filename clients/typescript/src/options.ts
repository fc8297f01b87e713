// What an application may choose, its defaults, and what makes a choice bad.

import type { Backoff } from "./backoff.js";
import type { Settings } from "./core/types.js";

/** A WebSocket as every platform has it: the browser's, Node 22's global, the `ws` package's. */
export interface Socket {
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** The `ws` package's: ends a connection without waiting for the other side. */
  terminate?(): void;
  // biome-ignore lint: the platforms' event types have nothing in common but these fields.
  onopen: ((event: any) => void) | null;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
}

/** Makes a WebSocket. */
export type SocketConstructor = new (url: string, protocols?: string | string[]) => Socket;

/** A token, and when it expires (milliseconds since the Unix epoch). */
export interface Token {
  readonly token: string;
  readonly expiresAt?: number;
}

/** Gives a token. `refused`: the last one was not taken, so a kept copy will not do. */
export type TokenSource = (ask: { readonly refused: boolean; readonly signal: AbortSignal }) => string | Token | Promise<string | Token>;

export interface Options {
  /** Gives the token that the gateway shall know us by; asked again before it expires and when it was refused. */
  token?: TokenSource;
  /** The WebSocket to use. Default: the global one (browsers, Node 22 and later). Node 20: that of the `ws` package. */
  WebSocket?: SocketConstructor;
  /** Closes the client when aborted. */
  signal?: AbortSignal;
  /** Ceiling of the first retry's delay and of all. Default: 500 ms, 20 s. */
  backoff?: Partial<Backoff>;
  /** From the start of a handshake to the gateway's welcome. Default: 10,000. */
  connectTimeoutMs?: number;
  /** From a ping (sent when nothing was heard for the gateway's heartbeat) to any answer. Default: 10,000. */
  pongTimeoutMs?: number;
  /** From `publish`, `history` or `presence` to an answer, with all retries. Default: 30,000. */
  requestTimeoutMs?: number;
  /** Requests that may wait for a connection or an answer; one more fails with `queue_full`. Default: 1000. */
  maxQueued?: number;
  /** A token is refreshed so long before it expires, or at half of its life if that is shorter. Default: 30,000. */
  refreshBeforeMs?: number;
  /** Messages that an iteration over a room may lag behind; one more ends it with an error. Default: 10,000. */
  maxBuffered?: number;
}

/** What is in force. */
export interface Chosen {
  readonly url: string;
  readonly socket: SocketConstructor;
  readonly token: TokenSource | undefined;
  readonly requestTimeoutMs: number;
  readonly maxBuffered: number;
  readonly settings: Settings;
}

/** Fills in the defaults. Throws a TypeError that names a bad option and the remedy. */
export function choose(url: string | URL, options: Options): Chosen {
  const number = (name: keyof Options, fallback: number) => positive(name, options[name] ?? fallback);
  return {
    url: socketUrl(url),
    socket: options.WebSocket ?? globalSocket(),
    token: options.token,
    requestTimeoutMs: number("requestTimeoutMs", 30_000),
    maxBuffered: number("maxBuffered", 10_000),
    settings: {
      backoff: {
        baseMs: positive("backoff.baseMs", options.backoff?.baseMs ?? 500),
        maxMs: positive("backoff.maxMs", options.backoff?.maxMs ?? 20_000),
      },
      connectTimeoutMs: number("connectTimeoutMs", 10_000),
      pongTimeoutMs: number("pongTimeoutMs", 10_000),
      stableAfterMs: 10_000,
      maxQueued: number("maxQueued", 1000),
      refreshBeforeMs: number("refreshBeforeMs", 30_000),
      tokens: options.token !== undefined,
    },
  };
}

/** Where to connect: an absolute URL, or one that a page's own address completes. `http` becomes `ws`. */
function socketUrl(url: string | URL): string {
  const base = (globalThis as { location?: { href: string } }).location?.href;
  let parsed: URL;
  try {
    parsed = new URL(url, base);
  } catch {
    throw new TypeError(`url: \`${url}\` is no URL: use wss://host/ws`);
  }
  parsed.protocol = parsed.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(parsed.protocol)) throw new TypeError(`url: \`${url}\` has the wrong scheme: use wss:// or ws://`);
  parsed.hash = "";
  return parsed.href;
}

function globalSocket(): SocketConstructor {
  const found = (globalThis as { WebSocket?: SocketConstructor }).WebSocket;
  if (found !== undefined) return found;
  throw new TypeError("WebSocket: this platform has none: pass one, such as that of the `ws` package");
}

function positive(name: string, value: unknown): number {
  if (typeof value === "number" && value > 0) return value;
  throw new TypeError(`${name}: ${String(value)} is no positive number`);
}
