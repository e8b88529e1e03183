#!/bin/sh
# Starts the program. WAYBILL_ROOT is the directory given as --root, empty for the real host.
set -eu
root=${WAYBILL_ROOT:-}
root=${root%/}
run=$root/run/example-product

sh "$(dirname "$0")/undo.sh"
mkdir -p "$run"
export RUNTIME_DIRECTORY="$run" EXAMPLE_PRODUCT_CONF="$root/etc/example-product/example-product.conf"
cd "$root/" # not the directory of the release, which could not be removed while the program runs
nohup "$root/opt/example-product/bin/example-product" run </dev/null >>"$run/log" 2>&1 &
echo $! >"$run/pid"
echo "started example-product, pid $!, log $run/log"
