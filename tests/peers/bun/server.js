// Bun's own WebSockets and `publish`, joined by Redis PUB/SUB through Bun's own Redis client: a publish goes to Redis, and each
// process subscribes to the rooms that it has members of. Nothing is kept: a message that is missed is gone.
//
// bun server.js PORT REDIS_URL

import { RedisClient } from 'bun';

const [port, redisUrl] = process.argv.slice(2);
// Bun pings a connection shortly before it would count as idle: at about 25 s.
const IDLE_SECONDS = 30;

const writer = new RedisClient(redisUrl);
const reader = new RedisClient(redisUrl);
await Promise.all([writer.connect(), reader.connect()]);

/** @type {Map<string, {members: number, subscribed: Promise<unknown>}>} */
const rooms = new Map();

const deliver = (frame, room) => server.publish(room, frame);

const requests = {
  async subscribe(socket, { ref, room }) {
    if (!rooms.has(room)) rooms.set(room, { members: 0, subscribed: reader.subscribe(room, deliver) });
    const state = rooms.get(room);
    state.members += 1;
    socket.data.rooms.add(room);
    await state.subscribed;
    socket.subscribe(room);
    socket.send(JSON.stringify({ type: 'subscribed', ref, room }));
  },
  async publish(socket, { ref, room, payload }) {
    await writer.publish(room, JSON.stringify({ type: 'message', room, payload }));
    socket.send(JSON.stringify({ type: 'ok', ref }));
  },
};

const server = Bun.serve({
  hostname: '127.0.0.1',
  port: Number(port),
  fetch(request, server) {
    return server.upgrade(request, { data: { rooms: new Set() } }) ? undefined : new Response('ok\n');
  },
  websocket: {
    perMessageDeflate: false,
    idleTimeout: IDLE_SECONDS,
    sendPings: true,
    open(socket) {
      socket.send(JSON.stringify({ type: 'welcome' }));
    },
    message(socket, text) {
      const request = JSON.parse(text);
      requests[request.type]?.(socket, request).catch((error) => {
        socket.send(JSON.stringify({ type: 'error', ref: request.ref, message: error.message }));
      });
    },
    close(socket) {
      for (const room of socket.data.rooms) {
        const state = rooms.get(room);
        state.members -= 1;
        if (state.members > 0) continue;
        rooms.delete(room);
        reader.unsubscribe(room);
      }
    },
  },
});
