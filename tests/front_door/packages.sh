#!/usr/bin/env bash
# Packages are asked for only where they are missing, and a Node that is there is kept. apt-get and dpkg are stand-ins.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/node"
cat >"$work/bin/apt-get" <<'END'
#!/usr/bin/env bash
echo "$*" >>"$LOG"
case "$*" in *install*) [ ! -e "$STALE" ] || { rm "$STALE"; exit 100; } ;; esac
END
cat >"$work/bin/dpkg-query" <<'END'
#!/usr/bin/env bash
case " $MISSING " in *" ${!#} "*) exit 1 ;; *) printf installed ;; esac
END
printf '#!/bin/sh\nexit 0\n' >"$work/bin/apt-cache"
printf '#!/bin/sh\nexec "$@"\n' >"$work/bin/sudo"
printf '#!/bin/sh\nexit 0\n' >"$work/node/npm"
printf '#!/bin/sh\nexit $OLD_NODE\n' >"$work/node/node"
chmod +x "$work"/bin/* "$work"/node/*
export LOG=$work/log STALE=$work/stale

# check NAME MISSING OLD_NODE: runs the installer for [build]; `log` holds what apt-get was asked.
check() {
  : >"$LOG"
  MISSING=$1 OLD_NODE=$2 PATH="$work/bin:$work/node:$PATH" "$root/scripts/install_packages" build >/dev/null 2>&1 || echo failed >>"$LOG"
  log=$(cat "$LOG")
}
verdict() { if [ "$2" = yes ]; then echo "ok $1"; else echo "not ok $1: apt-get was asked: $log"; fi; }

check '' 0
verdict asks_for_nothing_where_all_is_there "$([ -z "$log" ] && echo yes)"

check 'cmake zlib1g-dev' 0
verdict installs_just_what_is_missing "$([[ $log == *'--no-install-recommends cmake zlib1g-dev' && $log != *update* ]] && echo yes)"

check 'nodejs npm' 0
verdict keeps_a_node_that_is_new_enough "$([ -z "$log" ] && echo yes)"

check 'nodejs npm' 1
verdict installs_node_where_it_is_too_old "$([[ $log == *'nodejs npm' ]] && echo yes)"

touch "$STALE"
check 'cmake' 0
verdict refreshes_stale_lists_and_tries_again "$([[ $(grep -c install <<<"$log") == 2 && $log == *update* && $log != *failed* ]] && echo yes)"
