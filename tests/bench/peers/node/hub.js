// A simple home-made gateway: a WebSocket server with a set of sockets for each user, tenant and topic,
// which accepts messages over HTTP, and from Redis by PSUBSCRIBE.
//
//     node hub.js PORT [--echo] [--redis PORT] [--key FILE --cert FILE]
//
// It prints "ready" when it listens and, with Redis, is subscribed.
"use strict";

const fs = require("fs");
const http = require("http");
const https = require("https");
const { WebSocketServer } = require("ws");

const PING_INTERVAL = 25000; // as bellhop's

const port = Number(process.argv[2]);
const option = (name) => {
    const at = process.argv.indexOf(name);
    return at < 0 ? null : process.argv[at + 1];
};
const echoes = process.argv.includes("--echo");
const redisPort = option("--redis");

const sockets = { users: new Map(), tenants: new Map(), topics: new Map() };
const all = new Set();

function join(kind, id, socket) {
    if (!id) return;
    let set = sockets[kind].get(id);
    if (!set) sockets[kind].set(id, (set = new Set()));
    set.add(socket);
    socket.on("close", () => {
        set.delete(socket);
        if (set.size === 0) sockets[kind].delete(id);
    });
}

function publish(set, data) {
    if (!set) return;
    for (const socket of set) socket.send(data, { binary: false });
}

function onRequest(request, response) {
    const parts = [];
    request.on("data", (part) => parts.push(part));
    request.on("end", () => {
        const [, kind, id] = request.url.split("/");
        publish(kind === "all" ? all : sockets[kind]?.get(id), Buffer.concat(parts));
        response.end("{}");
    });
}

function onConnection(socket, request) {
    const query = new URL(request.url, "http://localhost").searchParams;
    socket.isAlive = true;
    socket.on("pong", () => (socket.isAlive = true));
    socket.on("error", () => socket.terminate());
    if (echoes) socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
    all.add(socket);
    socket.on("close", () => all.delete(socket));
    join("users", query.get("user"), socket);
    join("tenants", query.get("tenant"), socket);
    join("topics", query.get("topic"), socket);
}

function pingAll() {
    for (const socket of all) {
        if (!socket.isAlive) {
            socket.terminate();
            continue;
        }
        socket.isAlive = false;
        socket.ping();
    }
}

function onRedisMessage(pattern, channel, message) {
    const [, first, second] = channel.split(":");
    if (first === "broadcast") publish(all, message);
    else if (second === undefined) publish(sockets.users.get(first), message);
    else publish(sockets[first + "s"]?.get(second), message);
}

async function main() {
    const key = option("--key");
    const server = key
        ? https.createServer({ key: fs.readFileSync(key), cert: fs.readFileSync(option("--cert")) })
        : http.createServer();
    server.on("request", onRequest);
    new WebSocketServer({ server, perMessageDeflate: false }).on("connection", onConnection);
    setInterval(pingAll, PING_INTERVAL);
    if (redisPort) {
        const Redis = require("ioredis");
        const redis = new Redis({ host: "127.0.0.1", port: Number(redisPort) });
        redis.on("pmessage", onRedisMessage);
        await redis.psubscribe("notification:*");
    }
    server.listen({ host: "127.0.0.1", port, backlog: 4096 }, () => console.log("ready"));
}

main();
