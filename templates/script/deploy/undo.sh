#!/bin/sh
# Stops the program that apply.sh started. A program that does not run is no error.
set -eu
root=${WAYBILL_ROOT:-}
root=${root%/}
run=$root/run/example-product

[ -f "$run/pid" ] || exit 0
pid=$(cat "$run/pid")
ours() { # the number may belong to another process by now
    tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "$root/opt/example-product/bin/example-product run"
}
if ours; then
    kill "$pid"
    tries=0
    while ours; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || kill -KILL "$pid" # 10 s were enough to end in order
        sleep 0.1
    done
fi
rm -rf "$run"
