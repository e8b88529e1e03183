#!/bin/sh
# Stops the server that apply.sh started. Safe to run again: no server is fine too.
set -eu
root=${WAYBILL_ROOT:-}
root=${root%/}
pid_file=$root/var/lib/lan-chat/server.pid

[ -f "$pid_file" ] || exit 0
pid=$(cat "$pid_file")

ours() { # A pid may have been given to another process since: look at what it runs.
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "nats-server -c $root/etc/lan-chat/nats.conf"
}

if ours; then
    kill "$pid"
    tries=0
    while ours; do
        tries=$((tries + 1))
        [ "$tries" -ne 100 ] || kill -KILL "$pid" # 10 s were enough to end in peace
        [ "$tries" -lt 150 ] || { echo "undo.sh: process $pid does not end" >&2; exit 1; }
        sleep 0.1
    done
    echo "stopped nats-server, pid $pid"
fi
rm -f "$pid_file"
