// Real gateways and Redis servers, each with a folder of its own that goes with it.

import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { until, within } from "./until.js";

/** From build/test/shared to the repository. */
export const ROOT = fileURLToPath(new URL("../../../../../", import.meta.url));

const GATEWAY = process.env["WSCLUSTER_GATEWAY"] ?? join(ROOT, "target/debug/wscluster-gateway");

/** What must end with the test: newest first. */
export class Cleanup {
  readonly #tasks: (() => void | Promise<void>)[] = [];

  add(task: () => void | Promise<void>): void {
    this.#tasks.push(task);
  }

  async run(): Promise<void> {
    for (const task of this.#tasks.splice(0).reverse()) await task();
  }
}

export interface Gateway {
  readonly node: string;
  /** Port of the public listener. */
  readonly port: number;
  readonly adminPort: number;
  drain(wish?: object): Promise<void>;
  cancelDrain(): Promise<void>;
  /** How many sockets it holds. */
  connections(): Promise<number>;
  kill(): Promise<void>;
}

export interface GatewayOptions {
  readonly node?: string;
  readonly redisPort?: number;
  /** The settings file. */
  readonly config?: object;
  /** Serve the example under `/demo/`. */
  readonly demo?: boolean;
}

export async function startGateway(cleanup: Cleanup, options: GatewayOptions = {}): Promise<Gateway> {
  if (!existsSync(GATEWAY)) throw new Error(`${GATEWAY} is missing: build it with \`cargo build -p wscluster-gateway\``);
  const folder = mkdtempSync(join(tmpdir(), "wscluster-client-"));
  cleanup.add(() => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, "gateway.yaml");
  writeFileSync(config, JSON.stringify(options.config ?? {})); // JSON is YAML
  const node = options.node ?? "gateway-a";
  const redis = options.redisPort === undefined ? [] : ["--redis", `redis://127.0.0.1:${options.redisPort}`];
  const places = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--socket", join(folder, "socket")];
  const child = spawn(GATEWAY, ["serve", ...places, "--config", config, "--node", node, ...redis, ...(options.demo === true ? ["--demo"] : [])], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const end = ending(child);
  cleanup.add(end);
  const { listen, admin } = await within(`${node} starts`, addresses(child));
  const [port, adminPort] = [portOf(listen), portOf(admin)];
  const call = async (path: string, method: string, body?: object) => {
    const answer = await fetch(`http://127.0.0.1:${adminPort}${path}`, { method, ...(body ? { body: JSON.stringify(body) } : {}) });
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
    return (await answer.json()) as Record<string, unknown>;
  };
  return {
    node,
    port,
    adminPort,
    drain: async (wish) => void (await call("/v1/drain", "POST", wish)),
    cancelDrain: async () => void (await call("/v1/drain", "DELETE")),
    connections: async () => Number((await call("/v1/connections", "GET"))["connections"]),
    kill: end,
  };
}

/** A Redis of the test's own that tells of its keys; its port. */
export async function startRedis(cleanup: Cleanup): Promise<number> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "wscluster-redis-"));
  const settings = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder];
  const child = spawn("redis-server", settings, { stdio: "ignore" });
  cleanup.add(() => rmSync(folder, { recursive: true, force: true }));
  cleanup.add(ending(child));
  child.on("error", () => {}); // the wait below says more
  await until("redis-server answers (is Debian's redis-server installed?)", () => answers(port));
  return port;
}

function ending(child: ChildProcess): () => Promise<void> {
  const gone = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.once("error", () => {});
  return async () => {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      child.kill("SIGKILL");
      await gone;
    }
  };
}

/** Reads the gateway's log until it says where it listens. */
function addresses(child: ChildProcess): Promise<{ listen: string; admin: string }> {
  return new Promise((resolve, reject) => {
    const said: string[] = [];
    const read = (line: string) => {
      said.push(line);
      if (!line.includes("gateway starts")) return;
      resolve(JSON.parse(line) as { listen: string; admin: string });
    };
    for (const stream of [child.stdout, child.stderr]) if (stream) createInterface(stream).on("line", read);
    child.once("close", (code) => reject(new Error(`the gateway ended with ${code}:\n${said.join("\n")}`)));
  });
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(":") + 1));
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, "127.0.0.1");
    socket.once("connect", () => socket.write("PING\r\n"));
    socket.once("data", (data) => {
      resolve(data.toString().startsWith("+PONG"));
      socket.destroy();
    });
    socket.once("error", () => resolve(false));
  });
}
