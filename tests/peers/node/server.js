// The reference design: a Node process that holds sockets, and a Redis stream for each room. A publish is an XADD; every
// node reads every room that it has subscribers for, from the last id that it has seen. (The design's first version read
// through one consumer group for all nodes, which gives each message to one of them only.)
//
// node server.js PORT REDIS_URL

import { createServer } from 'node:http';
import { createClient } from 'redis';
import { WebSocketServer } from 'ws';

const [port, redisUrl] = process.argv.slice(2);
const HEARTBEAT_MS = 25_000;
const BLOCK_MS = 100;

const writer = createClient({ url: redisUrl });
const reader = createClient({ url: redisUrl });
await Promise.all([writer.connect(), reader.connect()]);

/** @type {Map<string, {position: string, members: Set<import('ws').WebSocket>}>} */
const rooms = new Map();

const requests = {
  async subscribe(socket, { ref, room }) {
    let state = rooms.get(room);
    if (!state) {
      const [last] = await writer.xRevRange(`room:${room}`, '+', '-', { COUNT: 1 });
      state = rooms.get(room) ?? { position: last?.id ?? '0-0', members: new Set() };
      rooms.set(room, state);
    }
    state.members.add(socket);
    socket.rooms.add(room);
    socket.send(JSON.stringify({ type: 'subscribed', ref, room, position: state.position }));
  },
  async publish(socket, { ref, room, payload }) {
    const fields = { type: 'message', payload: JSON.stringify(payload), timestamp: String(Date.now()) };
    const trim = { strategy: 'MAXLEN', strategyModifier: '~', threshold: 1000 };
    const id = await writer.xAdd(`room:${room}`, '*', fields, { TRIM: trim });
    socket.send(JSON.stringify({ type: 'ok', ref, id }));
  },
};

function deliver(room, { id, message }) {
  const state = rooms.get(room);
  if (!state) return;
  state.position = id;
  const payload = JSON.parse(message.payload);
  // Encoded once; ws frames it for each socket.
  const frame = Buffer.from(JSON.stringify({ type: 'message', room, id, timestamp: Number(message.timestamp), payload }));
  for (const socket of state.members) socket.send(frame, { binary: false });
}

async function read() {
  for (;;) {
    if (rooms.size === 0) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      continue;
    }
    const streams = Array.from(rooms, ([room, { position }]) => ({ key: `room:${room}`, id: position }));
    const found = await reader.xRead(streams, { BLOCK: BLOCK_MS, COUNT: 1000 });
    for (const { name, messages } of found ?? []) {
      for (const entry of messages) deliver(name.slice('room:'.length), entry);
    }
  }
}

const http = createServer((_, response) => response.end('ok\n'));
const server = new WebSocketServer({ server: http, path: '/ws', perMessageDeflate: false });

server.on('connection', (socket) => {
  socket.rooms = new Set();
  socket.alive = true;
  socket.on('pong', () => { socket.alive = true; });
  socket.on('error', () => socket.terminate());
  socket.on('message', (data) => {
    const request = JSON.parse(data);
    requests[request.type]?.(socket, request).catch((error) => {
      socket.send(JSON.stringify({ type: 'error', ref: request.ref, message: error.message }));
    });
  });
  socket.on('close', () => {
    for (const room of socket.rooms) {
      const state = rooms.get(room);
      state?.members.delete(socket);
      if (state?.members.size === 0) rooms.delete(room);
    }
  });
  socket.send(JSON.stringify({ type: 'welcome' }));
});

setInterval(() => {
  for (const socket of server.clients) {
    if (!socket.alive) socket.terminate();
    socket.alive = false;
    socket.ping();
  }
}, HEARTBEAT_MS);

http.listen(Number(port), '127.0.0.1', 1024);
read().catch((error) => {
  console.error(error);
  process.exit(1);
});
