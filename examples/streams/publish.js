// Publishes to the stream of user 42 from Node, without a package. With ioredis it is
// redis.call('FCALL', 'bellhop_publish', 2, '{notification:42}:log', '{notification:42}:m', payload, 'ID', id)
const net = require('node:net');

const words = ['FCALL', 'bellhop_publish', '2', '{notification:42}:log', '{notification:42}:m',
  '{"text":"from Node"}', 'ID', 'order-1-js'];
const request = `*${words.length}\r\n` +
  words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('');

const socket = net.connect(Number(process.env.REDIS_PORT || 6379), process.env.REDIS_HOST || '127.0.0.1');
let reply = '';
socket.on('connect', () => socket.write(request));
socket.on('data', (data) => {
  reply += data;
  const lines = reply.split('\r\n');
  if (reply.startsWith('-')) {
    console.error(lines[0]);
    process.exit(1);
  }
  if (lines.length < 6) return;
  for (const line of lines.slice(1, 5)) console.log(line.slice(1)); // offset, epoch, receivers, known
  socket.end();
});
