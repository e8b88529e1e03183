#!/bin/sh
# Runs until it is stopped, with the configuration that Waybill rendered on the host.
set -eu
. /etc/example-product/example-product.conf
echo "example-product: $greeting"
trap 'exit 0' TERM INT
while :; do
    : > /tmp/alive
    sleep 2 &
    wait $!
done
