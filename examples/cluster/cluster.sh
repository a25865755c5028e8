#!/bin/bash
# A Redis Cluster of three masters on this machine, without replicas and without files, until Ctrl-C:
#
#     ./examples/cluster/cluster.sh          on the ports 7000, 7001 and 7002 (BASE_PORT=N: N, N+1, N+2)
#
# The servers talk to each other on ports that are higher by 10000.
set -euo pipefail

base=${BASE_PORT:-7000}
folder=$(mktemp -d)
servers=()

stop() {
    trap - EXIT
    [ ${#servers[@]} -eq 0 ] || kill "${servers[@]}" 2>/dev/null || true
    wait
    rm -rf "$folder"
}
trap stop EXIT
trap 'exit 0' INT TERM

addresses=()
for port in "$base" $((base + 1)) $((base + 2)); do
    redis-server --port "$port" --bind 127.0.0.1 --dir "$folder" --save '' --appendonly no \
        --cluster-enabled yes --cluster-config-file "nodes-$port.conf" --cluster-node-timeout 2000 \
        >"$folder/$port.log" 2>&1 &
    servers+=($!)
    addresses+=("127.0.0.1:$port")
done

for i in 0 1 2; do
    until redis-cli -p $((base + i)) PING >/dev/null 2>&1; do
        kill -0 "${servers[i]}" 2>/dev/null || {
            cat "$folder/$((base + i)).log" >&2
            exit 1
        }
        sleep 0.05
    done
done
redis-cli --cluster create "${addresses[@]}" --cluster-yes >"$folder/create.log" || {
    cat "$folder/create.log" >&2
    exit 1
}
for i in 0 1 2; do
    until redis-cli -p $((base + i)) CLUSTER INFO | grep -q cluster_state:ok; do sleep 0.05; done
done
echo "redis+cluster://$(IFS=,; echo "${addresses[*]}") is ready"
wait
