#!/usr/bin/env bash
# Runs clients of the key-value store at the same time: scripts/run_clients.sh [N=5] [WAIT=0]
#
# Each puts 100 random pairs, waits, gets them again and compares; run_all_nodes.sh runs the nodes. They meet at the
# MQTT broker at BROKER (127.0.0.1:1883); what they tell goes to logClients.txt in the current directory. Exit code 1 if
# a client failed.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

LOG=logClients.txt

count=${1:-5}
wait=${2:-0}
check_number N "$count"
check_broker
client=$(build client)

: >"$LOG"
for ((number = 1; number <= count; number++)); do
    start "$LOG" "$client" "$wait"
done
say "${#pids[@]} clients are running, see $LOG"
wait_all
cat "$LOG"
[ "$signals" -eq 0 ] || fail "stopped before the clients were done"
[ "$failed" -eq 0 ] || fail "$failed of $count clients failed, see $LOG"
say "all $count clients found what they had put"
