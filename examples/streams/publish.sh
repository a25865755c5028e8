#!/bin/sh
# Publishes to the stream of user 42 from a shell: prints offset, epoch, receivers and whether the id was known.
set -eu
redis-cli -h "${REDIS_HOST:-127.0.0.1}" -p "${REDIS_PORT:-6379}" FCALL bellhop_publish 2 \
    '{notification:42}:log' '{notification:42}:m' '{"text":"from a shell"}' ID order-1-sh
