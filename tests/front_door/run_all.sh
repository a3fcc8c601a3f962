#!/usr/bin/env bash
# The test runner counts what passed, failed, was skipped or crashed, and says so in its last line and exit status.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin"

# A stand-in for a GoogleTest program: prints $2 and ends with status $3; writes $4 as its JSON if given.
program() {
  { echo '#!/usr/bin/env bash'
    printf 'cat <<"END"\n%s\nEND\n' "$2"
    [ -z "${4:-}" ] || printf 'for a in "$@"; do case $a in --gtest_output=json:*) cat >"${a#*json:}" <<"END"\n%s\nEND\n;; esac; done\n' "$4"
    echo "$3"
  } >"$work/bin/test_$1"
  chmod +x "$work/bin/test_$1"
}
run() { output=$("$root/tests/run_all" --build "$work" --suites unit --only "test_$1" 2>"$work/stderr"); status=$?; }
expect() {
  local last
  last=$(tail -n 1 <<<"$output")
  if [ "$last" = "$2" ] && [ "$status" = "$3" ]; then echo "ok $1"; else echo "not ok $1: \"$last\", exit status $status"; fi
}

case_json() { printf '{"name": "%s", "status": "RUN", "result": "%s"%s}' "$1" "$2" "${3:-}"; }
good=$(case_json holds COMPLETED) skip=$(case_json absent SKIPPED)
bad=$(case_json breaks COMPLETED ', "failures": [{"failure": "wrong", "type": ""}]')

program good '' 'exit 0' "{\"testsuites\": [{\"name\": \"A\", \"testsuite\": [$good, $skip]}]}"
run good
expect counts_what_passed '1 passed, 0 failed' 0

program bad $'[ RUN      ] A.breaks\nvalue was 41\n[  FAILED  ] A.breaks (0 ms)' 'exit 1' \
  "{\"testsuites\": [{\"name\": \"A\", \"testsuite\": [$good, $bad]}]}"
run bad
expect counts_what_failed '1 passed, 1 failed' 1
grep -q 'value was 41' <<<"$output" && echo "ok shows_what_a_failing_test_printed" || echo "not ok shows_what_a_failing_test_printed"

program crash $'[ RUN      ] A.one\n[       OK ] A.one (0 ms)\n[ RUN      ] A.two\nlast words' 'kill -SEGV $$'
run crash
expect counts_a_crash_as_a_failure '1 passed, 1 failed' 1
grep -q 'SIGSEGV' <<<"$output" && echo "ok names_the_signal" || echo "not ok names_the_signal"

program leak '' 'exit 23' "{\"testsuites\": [{\"name\": \"A\", \"testsuite\": [$good]}]}"
run leak
expect counts_a_bad_exit_after_good_tests '1 passed, 1 failed' 1

run nothing_has_this_name
expect fails_if_no_test_ran '0 passed, 0 failed' 1
