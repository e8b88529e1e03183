#!/usr/bin/env bash
# Makes a release on one machine, from any CI or by hand: release.sh VERSION
#
# In the directory of the product it runs the stages of the Makefile, then `bundle create`. The first stage that fails
# ends it: later ones do not run, what the stages started is ended, and releases/VERSION does not exist. If all pass,
# releases/VERSION has the artifacts, the bundle with its provenance, and SHA256SUMS.
#
# The signature of the release key comes later, on another machine: `bundle sign`.
#
# Variables, with their defaults:
#   STAGES="lint test build image artifact"   targets of the Makefile, in this order
#   ARTIFACTS=build/artifact                  where the last of them leaves what it made
#   RELEASES=releases                         where releases go
#   STAGE_LIMIT=30m                           the time limit of a stage
#   WAYBILL_PROVENANCE_KEY                    the key of this runner; RUNNER_KEY=none goes on without one
#   WAYBILL_PROVENANCE_PASSWORD               its password
set -euo pipefail

stages=${STAGES:-lint test build image artifact} artifacts=${ARTIFACTS:-build/artifact}
releases=${RELEASES:-releases} limit=${STAGE_LIMIT:-30m}
stage= group=

say() { printf '\n=== %4d s: %s\n' "$SECONDS" "$*"; }
fail() { printf 'release: %s\n' "$*" >&2; exit 1; }

finish() {
    local code=$?
    trap - EXIT
    trap '' INT TERM HUP
    # What a stage left running, such as a server of its tests, is in the process group of the stage.
    [ -z "$group" ] || kill -KILL -- "-$group" 2>/dev/null || true
    [ -z "${partial:-}" ] || rm -rf "$partial"
    [ "$code" = 0 ] || [ -z "$stage" ] || printf 'release: the stage %s failed (exit code %s); nothing is in %s\n' "$stage" "$code" "$releases/$version" >&2
    exit "$code"
}

run() { # run STAGE COMMAND…
    stage=$1
    say "stage $stage"
    set -m # a process group of its own
    timeout --kill-after=10 "$limit" "${@:2}" </dev/null 9>&- &
    group=$!
    set +m
    wait "$group"
    kill -KILL -- "-$group" 2>/dev/null || true
    group=
}

version=${1:-} version=${version#v}
[ $# = 1 ] && [[ $version =~ ^[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.-]+)?$ ]] || fail "usage: release.sh VERSION, such as 1.4.0"
for each in git make bundle flock timeout sha256sum; do
    command -v "$each" >/dev/null || fail "no $each on the PATH"
done
[ -f bundle.yaml ] && [ -f Makefile ] || fail "no bundle.yaml and Makefile in $PWD: run it in the directory of the product"
[ "$(git rev-parse --is-shallow-repository 2>/dev/null || echo none)" != none ] || fail "$PWD is no git checkout"
[ "$(git rev-parse --is-shallow-repository)" = false ] || fail "the clone is shallow: run \`git fetch --unshallow --tags\`"
[ -n "${WAYBILL_PROVENANCE_KEY:-}" ] || [ "${RUNNER_KEY:-}" = none ] ||
    fail "this runner has no key: set WAYBILL_PROVENANCE_KEY, or RUNNER_KEY=none for a provenance without a signature"

mkdir -p "$releases"
exec 9>"$releases/.lock"
flock --nonblock 9 || fail "another release is being made in $releases"
[ ! -e "$releases/$version" ] || fail "$releases/$version is there already: a version is released once"
partial=$releases/.partial
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
rm -rf "$partial" "$artifacts"
mkdir "$partial"

for each in $stages; do run "$each" make VERSION="$version" "$each"; done
[ -n "$(ls -A "$artifacts" 2>/dev/null)" ] || { stage=artifact; fail "nothing is in $artifacts"; }
cp -R "$artifacts/." "$partial"
product=$(sed -n 's/^product: *\([a-z0-9-]*\).*/\1/p' bundle.yaml)
run bundle bundle create "$version" -o "$partial/$product-$version.tar" --require source,clean,tag
(cd "$partial" && find . -type f ! -name SHA256SUMS -printf '%P\0' | sort -z | xargs -0 sha256sum >SHA256SUMS)
sync "$partial"/*
mv -T "$partial" "$releases/$version" # at once: it is there complete, or not at all
stage=
say "released $version: $releases/$version"
