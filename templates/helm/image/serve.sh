#!/bin/sh
# Runs until it is stopped, with the greeting that the chart sets.
set -eu
echo "example-product: $GREETING"
trap 'exit 0' TERM INT
while :; do
    : > /tmp/alive
    sleep 2 &
    wait $!
done
