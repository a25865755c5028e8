"""Publishes to the stream of user 42 from Python, without a package. With redis-py it is
redis.Redis().fcall("bellhop_publish", 2, "{notification:42}:log", "{notification:42}:m", payload, "ID", id)
"""
import os
import socket

WORDS = ["FCALL", "bellhop_publish", "2", "{notification:42}:log", "{notification:42}:m",
         '{"text":"from Python"}', "ID", "order-1-py"]

request = b"*%d\r\n" % len(WORDS)
for word in WORDS:
    data = word.encode()
    request += b"$%d\r\n%s\r\n" % (len(data), data)

address = (os.environ.get("REDIS_HOST", "127.0.0.1"), int(os.environ.get("REDIS_PORT", "6379")))
with socket.create_connection(address, timeout=5) as connection:
    connection.sendall(request)
    reply = connection.makefile("rb")
    head = reply.readline()
    if not head.startswith(b"*4"):
        raise SystemExit(head.decode())
    for _ in range(4):  # offset, epoch, receivers, known
        print(int(reply.readline()[1:]))
