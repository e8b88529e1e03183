#!/bin/sh
# Starts the server on a host that has neither systemd nor Docker. Safe to run again: it ends with one server of this release.
# WAYBILL_ROOT is the directory given as --root, empty for the real host.
set -eu
root=${WAYBILL_ROOT:-}
root=${root%/}
run=$root/var/lib/lan-chat

sh "$(dirname "$0")/undo.sh"
mkdir -p "$run"
nohup "$root/opt/lan-chat/bin/nats-server" -c "$root/etc/lan-chat/nats.conf" </dev/null >>"$run/server.log" 2>&1 &
pid=$!
echo "$pid" >"$run/server.pid"
sleep 0.3
if ! kill -0 "$pid" 2>/dev/null; then
    rm -f "$run/server.pid"
    echo "apply.sh: the server ended at once; its last words, from $run/server.log:" >&2
    tail -n 3 "$run/server.log" >&2
    exit 1
fi
echo "started nats-server, pid $pid, log $run/server.log"
