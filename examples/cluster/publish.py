"""Publishes on a Redis Cluster from Python, without a package: to the topic `news`, which has no history (prints how many
instances are subscribed), and to the stream of user 42 (prints offset, epoch, receivers, known). With redis-py:
cluster = redis.cluster.RedisCluster(host="127.0.0.1", port=7000)
cluster.spublish("notification:topic:news", payload)
cluster.fcall("bellhop_publish", 2, "{notification:42}:log", "{notification:42}:m", payload, "ID", id)
"""
import os
import re
import socket

SEED = (os.environ.get("REDIS_HOST", "127.0.0.1"), int(os.environ.get("REDIS_PORT", "7000")))
PAYLOAD = '{"text":"from Python"}'


def encode(words):
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
    return b"".join(parts)


def ask(address, commands):
    """The lines of the last reply; a list is a line that begins with *, and a line for each element."""
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(b"".join(encode(words) for words in commands))
        reply = connection.makefile("rb")
        for _ in commands:
            lines = [reply.readline().decode().rstrip()]
            if lines[0].startswith("*"):
                lines += [reply.readline().decode().rstrip() for _ in range(int(lines[0][1:]))]
        return lines


def call(*words):
    """Any server says which one has the slot of the key or channel."""
    address, before = SEED, []
    for _ in range(5):
        lines = ask(address, before + [words])
        moved = re.match(r"-(MOVED|ASK) \d+ (.*):(\d+)$", lines[0])
        if not moved:
            break
        address = (moved[2] or address[0], int(moved[3]))
        before = [["ASKING"]] if moved[1] == "ASK" else []
    if lines[0].startswith("-"):
        raise SystemExit(lines[0])
    for line in lines:
        if not line.startswith("*"):
            print(line[1:])


call("SPUBLISH", "notification:topic:news", PAYLOAD)
call("FCALL", "bellhop_publish", "2", "{notification:42}:log", "{notification:42}:m", PAYLOAD, "ID", "order-1-py")
