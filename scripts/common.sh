# What the scripts beside this file share; they source it.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BROKER=${BROKER:-127.0.0.1:1883}
export BROKER

say() { printf '%s: %s\n' "$(basename "$0")" "$*"; }
fail() {
    say "$*" >&2
    exit 1
}

# check_number WHAT VALUE: ends with 2 unless it is a number from 1.
check_number() {
    [[ $2 =~ ^[1-9][0-9]*$ ]] && return 0
    say "$1 is $2: give a number from 1" >&2
    exit 2
}

# Ends unless somebody accepts connections where the broker should be.
check_broker() {
    local address=${BROKER#*://} host port
    address=${address%/}
    host=${address%:*} port=${address##*:}
    [ "$host" != "$address" ] || port=1883
    host=${host#[} host=${host%]}
    # In a process of its own, which closes the connection by ending.
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$host" "$port" 2>/dev/null ||
        fail "no MQTT broker answers at $host:$port: start one (mosquitto -p $port), or say where it is (BROKER=HOST:PORT)"
}

# build EXAMPLE: builds it and prints the path of the program. CARGO_ARGS holds further arguments for cargo.
build() {
    local messages
    say "building example $1" >&2
    # shellcheck disable=SC2086 # Several arguments.
    messages=$(cd "$here" &&
        cargo build --quiet --example "$1" --message-format=json-render-diagnostics ${CARGO_ARGS:-}) || exit 1
    sed -n 's/.*"name":"'"$1"'".*"executable":"\([^"]*\)".*/\1/p' <<<"$messages" | grep . ||
        fail "cargo did not say where example $1 is"
}

# The processes that were started, by process id, and how often this script was told to stop.
pids=()
signals=0
trap on_signal INT TERM
# Nothing outlives the script, whatever ends it.
trap 'signal_all TERM' EXIT

# start LOG PROGRAM ARGUMENT...: starts a program whose output goes to the end of the log, unless it is time to stop.
start() {
    local log=$1
    shift
    [ "$signals" -eq 0 ] || return 0
    "$@" >>"$log" 2>&1 </dev/null &
    pids+=($!)
}

# The first time all are asked to end; whoever asks again does not want to wait. A signal to the group and one to this
# script alone, as timeout sends them, are one.
on_signal() {
    signals=$((signals + 1))
    if [ "$signals" -eq 1 ]; then
        stopping_since=$SECONDS
        [ ${#pids[@]} -eq 0 ] || say "stopping"
        signal_all TERM
    elif [ $((SECONDS - stopping_since)) -ge 2 ]; then
        signal_all KILL
    fi
}

# signal_all SIGNAL: to the processes of this script that still run, and to nobody else.
signal_all() {
    local pid
    for pid in $(jobs -rp); do
        kill -s "$1" "$pid" 2>/dev/null || true
    done
}

# Waits for all; failed is then the number of those that did not end well.
wait_all() {
    local pid status before
    failed=0
    for pid in "${pids[@]}"; do
        while true; do
            before=$signals status=0
            wait "$pid" || status=$?
            # A signal to this script ends the waiting, but not the process.
            [ "$status" -gt 128 ] && [ "$signals" -ne "$before" ] || break
        done
        # Told to stop before it had begun, it ends by the signal itself.
        if [ "$status" -ne 0 ] && ! { [ "$signals" -gt 0 ] && [ "$status" -eq 143 ]; }; then
            failed=$((failed + 1))
        fi
    done
}
