#!/bin/sh
# @NAME@ @VERSION@, a standalone program of Waybill. It unpacks once per version and user, then starts from there.
# The directory it starts from is one that nobody but the user (or root) can write to, in no part of its path.
# It has a payload for each platform that it is for, and takes the one for this host.
# Tried in order: $WAYBILL_CACHE alone if it is set; root: /var/cache/waybill, /run/waybill; everybody:
# ${XDG_CACHE_HOME:-~/.cache}/waybill, $XDG_RUNTIME_DIR/waybill.
{ # A shell reads the whole block before it runs any of it: a truncated file is an error, never exit code 0.
# Functions that bash takes from the environment would run instead of the tools.
unset -f cat cd chmod command date echo getconf gzip head id ldd ls mkdir mktemp mv printf pwd read rm sha256sum stat
unset -f sync tail tar tr true umask uname wc
self=$0 path=$PATH
PATH=/usr/bin:/bin:/usr/sbin:/sbin:$path
newline='
'
json=
for word; do case $word in --json) json=yes ;; --) break ;; esac; done
name=@NAME@
oldest_glibc=@GLIBC@ oldest_musl=@MUSL@
# The names of the files that are the same on every platform.
shared='@FILES@'
# Where the payload of the platform $1 lies, its SHA-256, that of the file .files in it, which has that of every other
# file, and the names of the files that only it has. A payload is the part that all share, then one of its own.
@TABLE@

# Variables with which a library, an interpreter or a tool loads code, or writes what it must not. The program and the
# tools of this script never see them; the program gives them back to the children that are to have them.
hidden='LD_LIBRARY_PATH LD_PRELOAD LD_AUDIT LD_DEBUG LD_DEBUG_OUTPUT LD_PROFILE LD_PROFILE_OUTPUT LD_ORIGIN_PATH
LD_BIND_NOW LD_BIND_NOT LD_DYNAMIC_WEAK LD_HWCAP_MASK LD_SHOW_AUXV LD_USE_LOAD_BIAS LD_VERBOSE LD_WARN GLIBC_TUNABLES
GCONV_PATH GETCONF_DIR LOCPATH NLSPATH MALLOC_CHECK_ MALLOC_PERTURB_ MALLOC_TRACE
OPENSSL_CONF OPENSSL_CONF_INCLUDE OPENSSL_ENGINES OPENSSL_MODULES OPENSSL_armcap OPENSSL_ia32cap SSLKEYLOGFILE
PYTHONASYNCIODEBUG PYTHONBREAKPOINT PYTHONCASEOK PYTHONDEBUG PYTHONDEVMODE PYTHONDUMPREFS PYTHONDUMPREFSFILE
PYTHONEXECUTABLE PYTHONFAULTHANDLER PYTHONHASHSEED PYTHONHOME PYTHONINSPECT PYTHONIOENCODING PYTHONMALLOC
PYTHONMALLOCSTATS PYTHONNODEBUGRANGES PYTHONNOUSERSITE PYTHONOPTIMIZE PYTHONPATH PYTHONPLATLIBDIR
PYTHONPROFILEIMPORTTIME PYTHONPYCACHEPREFIX PYTHONSAFEPATH PYTHONSTARTUP PYTHONTRACEMALLOC PYTHONTZPATH
PYTHONUNBUFFERED PYTHONUSERBASE PYTHONVERBOSE PYTHONWARNDEFAULTENCODING PYTHONWARNINGS
BASH_ENV CDPATH ENV TAR_OPTIONS GZIP _POSIX2_VERSION BLOCKSIZE BLOCK_SIZE LS_BLOCK_SIZE QUOTING_STYLE TIME_STYLE'
for variable in $hidden; do
  eval "unset WAYBILL_ORIGINAL_$variable
    if [ -n \"\${$variable+x}\" ]; then
      WAYBILL_ORIGINAL_$variable=\$$variable; export WAYBILL_ORIGINAL_$variable; unset $variable
    fi"
done

# A stream that is closed would become the number of the next file that is opened, and texts would land in that file.
# bash leaves this script itself open as its standard error then. Standard output is opened for reading only: what the
# program writes must not seem to have arrived.
command true 9>&2 && ! [ /proc/self/fd/2 -ef "$self" ] || exec 2>/dev/null
{ command true 9>&1; } 2>/dev/null || exec 1</dev/null
{ command true 9<&0; } 2>/dev/null || exec </dev/null

uid=$(id -u)
set -f

# Says on stdout what is wrong with the directory $1 or any part of its path; nothing when it can be trusted.
distrust() {
  case $1 in
    *"$newline"*) echo 'has a line break in its name'; return ;;
    '') echo 'cannot be entered'; return ;;
  esac
  part=$1; set -- "$1"
  while [ -n "${part%/*}" ]; do part=${part%/*}; set -- "$@" "$part"; done
  count=$#
  # In the C locale a directory is listed before what is in it.
  LC_ALL=C ls -ldn / "$@" 2>/dev/null | {
    seen=0 shared=
    while read -r mode links owner rest; do
      seen=$((seen + 1)) shared=
      case $mode in
        d????-??-*) ;;
        # What is ours in a sticky directory of root, such as /tmp, nobody else can rename, replace or remove.
        d????????[tT]*) [ "$owner" = 0 ] || { echo "/${rest#*/} is writable by others ($mode)"; exit; }
          shared="/${rest#*/} is writable by others ($mode)" ;;
        d*) echo "/${rest#*/} is writable by others ($mode)"; exit ;;
        *) echo "is not a directory ($mode)"; exit ;;
      esac
      [ "$owner" = 0 ] || [ "$owner" = "$uid" ] || { echo "/${rest#*/} belongs to user $owner"; exit; }
    done
    [ "$seen" -gt "$count" ] || { echo 'cannot be looked at'; exit; }
    # But in the directory itself anybody could create what we look for.
    [ -z "$shared" ] || echo "$shared"
  }
}

# The directories to try, one on each line.
cache=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
bases=${cache:+"$cache/waybill$newline"}${XDG_RUNTIME_DIR:+"$XDG_RUNTIME_DIR/waybill$newline"}
[ "$uid" != 0 ] || bases=/var/cache/waybill$newline/run/waybill$newline$bases
bases=${WAYBILL_CACHE:-$bases}

# Sets now to a digest of the name, size, owner, mode and time of change of every file in $1; fails if none is seen.
look() {
  now=$(
    cd "$1" && IFS=$newline && { TZ=UTC0 LC_ALL=C stat -c '%n %s %u %a %z' -- $shared $files 2>/dev/null | sha256sum; }
  )
  # The digest of nothing would always be equal to itself.
  case $now in e3b0c44298fc1c149afbf4c8996fb924*|'') return 1 ;; esac
}

# Whether every file in $1 is as it was packed. Nobody can write to a file without a new time of change, so that the
# contents are read only if anything differs from what was seen when they were last read.
intact() {
  [ -f "$1/.complete" ] && look "$1" || return
  before=
  read -r before <"$1/.complete" || :
  [ "$before" != "$now" ] || return 0
  (
    cd "$1" && found=$(sha256sum <.files) && [ "${found%% *}" = "$list" ] && sha256sum -c .files
  ) >/dev/null 2>&1 || return
  # In a cache that is read-only the contents are read at every start.
  { printf '%s\n' "$now" >"$1/.complete"; } 2>/dev/null || :
}

# Text $1 as the inside of a JSON string: printable ASCII, without the two characters that would need an escape.
plain() { printf %s "$1" | LC_ALL=C tr '"\\\n' "'/ " | LC_ALL=C tr -c '\040-\176' '?'; }

# Ends because the program cannot start: $1 is why, a reason on each line, $2 the hint. With --json there is a document
# on stdout as well, of the form that every run has (schemas/v1/cli).
fail() {
  { echo "$name: $1"; [ -z "$2" ] || echo "hint: $2"; } >&2
  [ -n "$json" ] || exit 126
  now=$(date -u +%Y-%m-%dT%H:%M:%SZ) run=$(echo "$$ $now" | sha256sum) problems='' hint=null
  [ -z "$2" ] || hint="\"$(plain "$2")\""
  IFS=$newline
  for line in $1; do
    line=${line%:}
    problems="$problems${problems:+,}
  {\"code\": \"not-started\", \"where\": null, \"what\": \"$(plain "${line#  }")\", \"hint\": $hint,
   \"verification_step\": null}"
    hint=null
  done
  cat <<END
{"schema": "waybill/cli/$name/v1", "exit": 126, "code": "not-started", "cause": null, "changed": false,
 "product": null, "host": "$(plain "$(uname -n)")", "root": null, "from": null, "to": null, "transaction": null,
 "evidence": null, "run": "${run%"${run#????????????????}"}", "started": "$now", "ended": "$now", "seconds": 0,
 "steps": [], "warnings": [], "problems": [$problems]}
END
  exit 126
}

# Whether version $1 is older than version $2, both of numbers between dots.
older() {
  set -- "$1." "$2."
  while [ -n "$2" ]; do
    set -- "$1" "$2" "${1%%.*}" "${2%%.*}"
    set -- "${1#*.}" "${2#*.}" "${3%%[!0-9]*}" "$4"
    [ "${3:-0}" = "$4" ] || { [ "${3:-0}" -lt "$4" ]; return; }
  done
  return 1
}

# Sets glibc to the version of the host's glibc; fails where nothing tells it.
glibc() {
  if glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null); then glibc=${glibc#glibc }
  else
    glibc=$(ldd --version 2>/dev/null) || :
    glibc=${glibc%%"$newline"*}
    case $glibc in *GLIBC* | *'GNU libc'*) glibc=${glibc##* } ;; *) glibc= ;; esac
  fi
  case $glibc in [0-9]*.[0-9]*) ;; *) glibc=; return 1 ;; esac
}

# Sets fitting to the platforms whose programs this host can run, the best first, and platform to the first of them
# that this file is for. A C library is there if its loader is. If both are, and nothing tells the version of glibc, the
# host is one of musl: the loader of glibc is that of a layer of compatibility, which lacks most of glibc.
choose() {
  machine=$(uname -m) system='' fitting='' platform=
  case $machine in
    x86_64 | amd64) system=linux/amd64 gnu=/lib64/ld-linux-x86-64.so.2 musl=/lib/ld-musl-x86_64.so.1 ;;
    aarch64 | arm64) system=linux/arm64 gnu=/lib/ld-linux-aarch64.so.1 musl=/lib/ld-musl-aarch64.so.1 ;;
    *) return ;;
  esac
  [ ! -e "$gnu" ] || fitting=$system
  if [ -e "$musl" ]; then
    if [ -n "$fitting" ] && glibc; then fitting="$fitting $system-musl"
    else fitting="$system-musl${fitting:+ $fitting}"; fi
  fi
  for each in $fitting; do
    case " $carried " in *" $each "*) platform=$each; return ;; esac
  done
}

# The platform $1 in words.
words() {
  case $1 in linux/amd64*) words=x86-64 ;; *) words=ARM64 ;; esac
  case $1 in *-musl) words="$words with musl $oldest_musl" ;; *) words="$words with glibc $oldest_glibc" ;; esac
  echo "$words or later"
}

# Ends with the reason if this host cannot run the platform that choose has found, or if it has found none.
require() {
  reason='' hint='use another host, or a container of another distribution'
  case $platform in
    '')
      case " $carried" in
        *" ${system:-none}"*)
          case $fitting in
            '') reason="it has neither the loader of glibc ($gnu) nor that of musl ($musl)" ;;
            *-musl) reason='its C library is musl' ;;
            *) reason='its C library is glibc' ;;
          esac ;;
        *) reason="its machine is $machine" ;;
      esac
      if [ "$name" = install ] && [ -n "$fitting" ]; then
        hint="write the file for this host where \`bundle\` is: bundle installer --platform ${fitting%% *}"
      fi ;;
    *-musl)
      found=$("$musl" 2>&1 </dev/null) || :
      case $found in *Version\ [0-9]*) found=${found#*Version } found=${found%%"$newline"*} ;; *) return ;; esac
      if older "$found" "$oldest_musl"; then reason="its musl is $found"; fi ;;
    *) if glibc && older "$glibc" "$oldest_glibc"; then reason="its glibc is $glibc"; fi ;;
  esac
  [ -n "$reason" ] || return 0
  for each in $carried; do reason="$reason$newline  the file is for $(words "$each")"; done
  fail "cannot run on this host: $reason" "$hint"
}

# Starts the program from directory $1; the rest are its arguments.
start() {
  program=$1/$name; shift
  WAYBILL_EXE=$self; export WAYBILL_EXE
  PATH=$path
  exec "$program" "$@"
}

# Writes the $2 bytes of this file from the one with number $1 on. What tail reads has an end, so that nothing is ended
# by a pipe that closes: where that signal is ignored, as in a service, it would be one more message.
part() { head -c "$(($1 + $2 - 1))" "$self" | tail -c "+$1"; }

# Unpacks into $1/$name-$digest, which becomes visible complete and durable or not at all. Fails with the reason as
# the last line of its output, with 18 if the fault lies in this file, 19 if it lies in this host; what the tools say on
# the way (tar: "time stamp in the future") is no failure.
unpack() {
  fresh=$(mktemp -d "$1/.$name-XXXXXX" 2>&1) || { echo "${fresh##*: }"; return 1; }
  trap 'rm -rf "$fresh"' EXIT
  trap 'exit 143' INT TERM HUP PIPE
  status=0
  error=$({ part "$begin" "$common" && part "$offset" "$size"; } 2>&1 >"$fresh/.payload") || status=$?
  case $error in *"$self"*) echo "$self cannot be read (${error##*: }); copy it again"; return 18 ;; esac
  if [ "$status" != 0 ]; then
    # The first line: the one who writes ends first.
    error=${error%%"$newline"*}
    echo "cannot be filled ($space are needed): ${error##*: }"
    return 1
  fi
  found=$(wc -c <"$self")
  if [ "$found" -ne "$end" ]; then
    echo "$self is damaged: it has $((found)) bytes, not $end; copy it again"
    return 18
  fi
  found=$(sha256sum <"$fresh/.payload")
  if [ "${found%% *}" != "$digest" ]; then
    echo "$self is damaged: the SHA-256 of its payload is ${found%% *}, not $digest; copy it again"
    return 18
  fi
  if ! { gzip -dc <"$fresh/.payload" | tar -C "$fresh" -xf - && rm "$fresh/.payload"; }; then
    echo "cannot be filled ($space are needed)"
    return 1
  fi
  error=$(LC_ALL=C; export LC_ALL; start "$fresh" --version 2>&1 </dev/null) || {
    status=$? error=${error##*"$newline"}
    case $error in
      *[Pp]'ermission denied' | *'not permitted')
        echo "cannot start from there, is it mounted noexec? $error"
        return 1 ;;
    esac
    echo "its program ends with exit code $status${error:+: $error}"
    return 19
  }
  sync -f "$fresh" 2>/dev/null || sync
  if ! look "$fresh" || ! printf '%s\n' "$now" >"$fresh/.complete"; then
    echo "cannot be filled ($space are needed)"
    return 1
  fi
  home=$1/$name-$digest
  mv -T "$fresh" "$home" 2>/dev/null && return
  # Another first start was quicker, or what lies there is unfinished, damaged or not to be trusted.
  [ -z "$(distrust "$home")" ] && intact "$home" && [ -x "$home/$name" ] && return
  # Aside, not away: a program that runs from there keeps its open files, and what it opens next is whole again.
  mv -T "$home" "$fresh/.old" && mv -T "$fresh" "$home" && rm -rf "$home/.old"
}

case $self in
  */*) ;;
  *) if [ -f "$self" ]; then self=./$self; else self=$(PATH=$path; command -v -- "$self"); fi ;;
esac
case $self in /*) ;; *) self=$(pwd)/${self#./} ;; esac

case ${WAYBILL_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}${XDG_RUNTIME_DIR:-} in
  *"$newline"*) fail 'a line break in WAYBILL_CACHE, HOME or XDG_*: cannot start' '' ;;
esac

# What one payload has unpacked has run here. Homes that several hosts share may have the payload of another host.
case $carried in *' '*) choose ;; *) platform=$carried ;; esac

ifs=$IFS reasons='' damaged=''
if pick "$platform"; then places=$bases; else places=; fi
IFS=$newline
for base in $places; do
  IFS=$ifs
  home=$base/$name-$digest
  [ -f "$home/.complete" ] || continue
  home=$(CDPATH='' cd -P -- "$home" 2>/dev/null && pwd -P) || continue
  [ "${home##*/}" = "$name-$digest" ] && [ -z "$(distrust "$home")" ] || continue
  if ! intact "$home"; then damaged="$damaged$newline  $home"; continue; fi
  # Else what follows says what is wrong, a mount that is noexec, or gives it its mode back.
  [ ! -x "$home/$name" ] || start "$home" "$@"
done

IFS=$ifs
choose
require
pick "$platform"

mask=$(umask)
IFS=$newline
for base in $bases; do
  IFS=$ifs
  if ! error=$({ umask 022; mkdir -p -- "${base%/*}/" && { [ -d "$base" ] || mkdir -m 700 -- "$base"; }; } 2>&1); then
    reasons="$reasons$newline  $base: ${error##*: }"; continue
  fi
  place=$(CDPATH='' cd -P -- "$base" 2>/dev/null && pwd -P) || place=
  status=1 wrong=$(distrust "$place")
  if [ -z "$wrong" ]; then wrong=$(umask 077; unpack "$place" 2>&1) && status=0 || status=$?; fi
  if [ "$status" = 0 ]; then
    [ -z "$damaged" ] || echo "$name: unpacked itself again, because files were changed or damaged in:$damaged" >&2
    WAYBILL_FRESH=1; export WAYBILL_FRESH
    umask "$mask"; start "$place/$name-$digest" "$@"
  fi
  wrong=${wrong##*"$newline"}
  reasons="$reasons$newline  $base: ${wrong:-the unpacking was ended, exit code $status}"
  # No other place helps a file that is damaged, or a host that cannot run it.
  case $status in
    18) fail "cannot unpack and start itself:$reasons" '' ;;
    19) fail "cannot run on this host:$reasons" '' ;;
  esac
done
IFS=$ifs
[ -n "$reasons" ] || reasons="$newline  none of HOME, XDG_CACHE_HOME and XDG_RUNTIME_DIR is set"
[ -z "$damaged" ] || reasons="$reasons$newline  and files were changed or damaged in:$damaged"
fail "cannot unpack and start itself:$reasons" "set WAYBILL_CACHE to a directory that only you can write to, that has $space
  free and is not mounted noexec, such as /var/tmp/waybill-$uid"
}
