#!/usr/bin/env bash
# Runs nodes of the key-value store until Ctrl-C: scripts/run_all_nodes.sh [N=8]
#
# They meet at the MQTT broker at BROKER (127.0.0.1:1883); what they tell goes to log.txt in the current directory.
# Ctrl-C and SIGTERM let all of them hand over and leave; a second one kills them.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

LOG=log.txt

count=${1:-8}
check_number N "$count"
check_broker
node=$(build node)

: >"$LOG"
for ((number = 1; number <= count; number++)); do
    start "$LOG" "$node" "node-$number"
done
say "${#pids[@]} nodes are running, see $LOG; Ctrl-C lets them leave"
wait_all
[ "$failed" -eq 0 ] || fail "$failed of ${#pids[@]} nodes failed, see $LOG"
say "all nodes have left"
