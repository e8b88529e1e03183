#!/bin/sh
# @NAME@ @VERSION@, a standalone program of Waybill. It unpacks once per version and user, then starts from there.
# The directory it starts from is one that nobody but the user (or root) can write to, in no part of its path.
# Tried in order: $WAYBILL_CACHE alone if it is set; root: /var/cache/waybill, /run/waybill; everybody:
# ${XDG_CACHE_HOME:-~/.cache}/waybill, $XDG_RUNTIME_DIR/waybill.
name=@NAME@ digest=@DIGEST@ offset=@OFFSET@ room=@ROOM@
self=$0 path=$PATH
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$path
uid=$(id -u)
newline='
'

# Says on stdout what is wrong with the directory $1 or any part of its path; nothing when it can be trusted.
distrust() {
  case $1 in *"$newline"*) echo 'has a line break in its name'; return ;; esac
  part=$1; set -- "$1"
  while [ -n "${part%/*}" ]; do part=${part%/*}; set -- "$@" "$part"; done
  count=$#
  LC_ALL=C ls -ldn / "$@" 2>/dev/null | {
    seen=0
    while read -r mode links owner rest; do
      seen=$((seen + 1))
      case $mode in
        d????-??-*) ;;
        d*) echo "/${rest#*/} is writable by others ($mode)"; exit ;;
        *) echo "is not a directory ($mode)"; exit ;;
      esac
      [ "$owner" = 0 ] || [ "$owner" = "$uid" ] || { echo "/${rest#*/} belongs to user $owner"; exit; }
    done
    [ "$seen" -gt "$count" ] || echo 'cannot be looked at'
  }
}

bases() {
  if [ -n "${WAYBILL_CACHE:-}" ]; then printf '%s\n' "$WAYBILL_CACHE"; return; fi
  [ "$uid" != 0 ] || printf '%s\n' /var/cache/waybill /run/waybill
  cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  printf '%s\n' ${cache:+"$cache/waybill"} ${XDG_RUNTIME_DIR:+"$XDG_RUNTIME_DIR/waybill"}
}

# Starts the program from directory $1; the rest are its arguments. What could slip foreign libraries into it is hidden.
start() {
  program=$1/$name; shift
  WAYBILL_EXE=$self; export WAYBILL_EXE
  unset WAYBILL_ORIGINAL_LD_LIBRARY_PATH WAYBILL_ORIGINAL_LD_PRELOAD
  if [ -n "${LD_LIBRARY_PATH+x}" ]; then
    WAYBILL_ORIGINAL_LD_LIBRARY_PATH=$LD_LIBRARY_PATH; export WAYBILL_ORIGINAL_LD_LIBRARY_PATH; unset LD_LIBRARY_PATH
  fi
  if [ -n "${LD_PRELOAD+x}" ]; then
    WAYBILL_ORIGINAL_LD_PRELOAD=$LD_PRELOAD; export WAYBILL_ORIGINAL_LD_PRELOAD; unset LD_PRELOAD
  fi
  PATH=$path
  exec "$program" "$@"
}

# Unpacks into $1/$name-$digest, which becomes visible complete and durable or not at all. Fails with the reason as
# the last line of its output; what the tools say on the way (tar: "time stamp in the future") is no failure.
unpack() {
  fresh=$(mktemp -d "$1/.$name-XXXXXX") || return
  trap 'rm -rf "$fresh"' EXIT
  trap 'exit 143' INT TERM HUP PIPE
  if ! tail -c "+$offset" "$self" >"$fresh/.payload" || ! found=$(sha256sum <"$fresh/.payload"); then
    echo "cannot be filled ($room are needed), or $self cannot be read"
    return 1
  fi
  if [ "${found%% *}" != "$digest" ]; then
    echo "$self is damaged: the SHA-256 of its payload is ${found%% *}, not $digest; copy it again"
    return 1
  fi
  if ! { gzip -dc <"$fresh/.payload" | tar -C "$fresh" -xf - && rm "$fresh/.payload"; }; then
    echo "cannot be filled ($room are needed)"
    return 1
  fi
  if ! error=$(start "$fresh" --version 2>&1 </dev/null); then
    echo "cannot start from there, is it mounted noexec? ${error##*"$newline"}"
    return 1
  fi
  sync -f "$fresh" 2>/dev/null || sync
  : >"$fresh/.complete"
  home=$1/$name-$digest
  mv -T "$fresh" "$home" 2>/dev/null && return
  # Another first start was quicker, or what lies there is unfinished or not to be trusted.
  [ -f "$home/.complete" ] && [ -z "$(distrust "$home")" ] && return
  rm -rf "$home" && mv -T "$fresh" "$home"
}

case $self in
  */*) ;;
  *) if [ -f "$self" ]; then self=./$self; else self=$(PATH=$path; command -v -- "$self"); fi ;;
esac
case $self in /*) ;; *) self=$(pwd)/${self#./} ;; esac

case ${WAYBILL_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}${XDG_RUNTIME_DIR:-} in
  *"$newline"*) echo "$name: a line break in WAYBILL_CACHE, HOME or XDG_*: cannot start" >&2; exit 126 ;;
esac

ifs=$IFS; IFS=$newline
set -f
for base in $(bases); do
  IFS=$ifs
  home=$base/$name-$digest
  [ -f "$home/.complete" ] || continue
  home=$(CDPATH='' cd -P -- "$home" 2>/dev/null && pwd -P) || continue
  [ "${home##*/}" = "$name-$digest" ] && [ -z "$(distrust "$home")" ] && start "$home" "$@"
done

mask=$(umask)
reasons=
IFS=$newline
for base in $(bases); do
  IFS=$ifs
  if ! error=$({ umask 022; mkdir -p -- "${base%/*}/" && { [ -d "$base" ] || mkdir -m 700 -- "$base"; }; } 2>&1); then
    reasons="$reasons$newline  $base: ${error##*: }"; continue
  fi
  place=$(CDPATH='' cd -P -- "$base" 2>/dev/null && pwd -P) || place=
  wrong=$(distrust "$place")
  if [ -z "$wrong" ] && wrong=$(umask 077; unpack "$place" 2>&1); then
    WAYBILL_FRESH=1; export WAYBILL_FRESH
    umask "$mask"; start "$place/$name-$digest" "$@"
  fi
  reasons="$reasons$newline  $base: ${wrong##*"$newline"}"
done
{
  echo "$name: cannot unpack and start itself:$reasons"
  echo "hint: set WAYBILL_CACHE to a directory that only you can write to, that has $room free and is not mounted noexec"
} >&2
exit 126
