// A gateway of a few lines that speaks the documented wire of tokens: it takes those that it is told are good, closes with
// 3000 for others and for one that has expired. It has no rooms worth the name.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { join } from "node:path";
import { type WebSocket, WebSocketServer } from "ws";
import { SUBPROTOCOL } from "../../src/index.js";
import { type Cleanup, ROOT } from "./processes.js";

type Frame = { type: string; ref: number; token?: string; room?: string };

export class Scripted {
  /** Good tokens, and how long each lives from when it is shown, in milliseconds. */
  readonly good = new Map<string, number>();
  /** Tokens in the order in which they were shown. */
  readonly shown: string[] = [];
  /** Requests that came before a token was taken. */
  readonly early: string[] = [];
  /** Handshakes. */
  connections = 0;
  readonly #server = createServer((request, response) => {
    const script = request.url === "/wscluster.js";
    const body = script ? readFile(join(ROOT, "examples/chat/wscluster.js")) : Promise.resolve("<!doctype html><title>test</title>");
    void body.then((text) => response.writeHead(200, { "content-type": script ? "text/javascript" : "text/html" }).end(text));
  });

  static async start(cleanup: Cleanup): Promise<Scripted> {
    const gateway = new Scripted();
    const sockets = new WebSocketServer({ server: gateway.#server, handleProtocols: () => SUBPROTOCOL });
    sockets.on("connection", (socket) => gateway.#serve(socket));
    await new Promise<void>((resolve) => gateway.#server.listen(0, "127.0.0.1", resolve));
    cleanup.add(() => {
      for (const socket of sockets.clients) socket.terminate();
      gateway.#server.closeAllConnections();
      gateway.#server.close();
    });
    return gateway;
  }

  get origin(): string {
    const address = this.#server.address();
    return `http://127.0.0.1:${typeof address === "object" && address ? address.port : 0}`;
  }

  #serve(socket: WebSocket): void {
    this.connections += 1;
    let [known, end] = [false, undefined as NodeJS.Timeout | undefined];
    const say = (frame: object) => socket.send(JSON.stringify(frame));
    say({ type: "welcome", session: `s${this.connections}`, node: "scripted", heartbeatMs: 25_000, maxMessageBytes: 65_536, resumeWindowMs: 0 });
    socket.on("close", () => clearTimeout(end));
    socket.on("message", (bytes) => {
      const { type, ref, token = "", room } = JSON.parse(String(bytes)) as Frame;
      if (type !== "auth") {
        if (!known) this.early.push(type);
        return say({ type: type === "subscribe" ? "subscribed" : "ok", ref, room, position: "0-0", recovered: true, replayed: 0 });
      }
      this.shown.push(token);
      const life = this.good.get(token);
      clearTimeout(end);
      if (life === undefined) {
        say({ type: "error", ref, code: "unauthorized", message: "this token is not good" });
        return socket.close(3000, "unauthorized");
      }
      known = true;
      end = setTimeout(() => socket.close(3000, "the token has expired"), Math.min(life, 2 ** 31 - 1));
      say({ type: "ok", ref });
    });
  }
}
