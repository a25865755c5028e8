// Publishes on a Redis Cluster from Node, without a package: to the topic `news`, which has no history (prints how many
// instances are subscribed), and to the stream of user 42 (prints offset, epoch, receivers, known). With ioredis:
// const cluster = new Redis.Cluster([{ host: '127.0.0.1', port: 7000 }])
// await cluster.spublish('notification:topic:news', payload)
// await cluster.fcall('bellhop_publish', 2, '{notification:42}:log', '{notification:42}:m', payload, 'ID', id)
// With node-redis:
// const cluster = createCluster({ rootNodes: [{ url: 'redis://127.0.0.1:7000' }] })
// await cluster.sPublish('notification:topic:news', payload)
// await cluster.fCall('bellhop_publish', { keys: ['{notification:42}:log', '{notification:42}:m'], arguments: [payload, 'ID', id] })
const net = require('node:net');

const seed = { host: process.env.REDIS_HOST || '127.0.0.1', port: Number(process.env.REDIS_PORT || 7000) };
const payload = '{"text":"from Node"}';

function encode(words) {
  return `*${words.length}\r\n` + words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('');
}

// The lines of a reply; a list is a line that begins with *, and a line for each element.
function take(lines) {
  const count = 1 + (lines[0].startsWith('*') ? Number(lines[0].slice(1)) : 0);
  return lines.length > count ? lines.splice(0, count) : null;
}

function ask(address, commands) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(address.port, address.host);
    let left = commands.length;
    let text = '';
    socket.on('connect', () => socket.write(commands.map(encode).join('')));
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection was closed')));
    socket.on('data', (data) => {
      text += data;
      const lines = text.split('\r\n'); // the last one is not complete
      for (let reply = take(lines); reply; reply = lines.length > 1 ? take(lines) : null) {
        if (--left === 0) {
          resolve(reply);
          socket.end();
        }
      }
      text = lines.join('\r\n');
    });
  });
}

// Any server says which one has the slot of the key or channel.
async function call(...words) {
  let address = seed;
  let before = [];
  let lines;
  for (let i = 0; i < 5; i++) {
    lines = await ask(address, [...before, words]);
    const moved = lines[0].match(/^-(MOVED|ASK) \d+ (.*):(\d+)$/);
    if (!moved) break;
    address = { host: moved[2] || address.host, port: Number(moved[3]) };
    before = moved[1] === 'ASK' ? [['ASKING']] : [];
  }
  if (lines[0].startsWith('-')) throw new Error(lines[0]);
  for (const line of lines) if (!line.startsWith('*')) console.log(line.slice(1));
}

async function main() {
  await call('SPUBLISH', 'notification:topic:news', payload);
  await call('FCALL', 'bellhop_publish', '2', '{notification:42}:log', '{notification:42}:m', payload, 'ID', 'order-1-js');
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
