// Socket.IO with its Redis Streams adapter, as its documentation shows it: defaults, heartbeats on (25 s), no compression
// (the default). WebSocket only. A node delivers its own publishes at once, and reads those of others from the stream.
//
// node server.js PORT REDIS_URL

import { createServer } from 'node:http';
import { createAdapter } from '@socket.io/redis-streams-adapter';
import { createClient } from 'redis';
import { Server } from 'socket.io';

const [port, redisUrl] = process.argv.slice(2);
const redis = createClient({ url: redisUrl });
await redis.connect();

const http = createServer((_, response) => response.end('ok\n'));
const io = new Server(http, { adapter: createAdapter(redis), transports: ['websocket'], serveClient: false });

io.on('connection', (socket) => {
  socket.on('subscribe', async (room, done) => {
    await socket.join(room);
    done();
  });
  socket.on('publish', (room, payload) => io.to(room).emit('message', payload));
});

http.listen(Number(port), '127.0.0.1', 1024);
