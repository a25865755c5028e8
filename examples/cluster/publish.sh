#!/bin/sh
# Publishes on a Redis Cluster from a shell: to the topic `news`, which has no history (prints how many instances are
# subscribed), and to the stream of user 42 (prints offset, epoch, receivers and whether the id was known). With -c
# redis-cli goes to the server of the channel.
set -eu
cli() { redis-cli -c -h "${REDIS_HOST:-127.0.0.1}" -p "${REDIS_PORT:-7000}" "$@"; }
cli SPUBLISH notification:topic:news '{"text":"from a shell"}'
cli FCALL bellhop_publish 2 '{notification:42}:log' '{notification:42}:m' '{"text":"from a shell"}' ID order-1-sh
