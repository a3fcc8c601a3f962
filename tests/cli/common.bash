# Sourced by the tests of the command line: a work folder, the program, and verdicts as TAP lines. A model without a tokenizer
# comes from the golden files; tests of text ask for the default model and are skipped without it.
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
: "${MICROTOME:=$root/build/bin/microtome}"
tiny=$root/tests/golden/models/llama_gqa_tied
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export NO_COLOR=1
python=$(python3 -c 'import sys; print(sys.executable)')  # the program itself, whatever PATH becomes

# Runs the program: output in $work/out and $work/err, exit status in $status.
microtome() {
  "$MICROTOME" "$@" >"$work/out" 2>"$work/err"
  status=$?
}

# verdict NAME CONDITION...: the condition is a command.
verdict() {
  local name=$1
  shift
  if "$@"; then
    echo "ok $name"
  else
    echo "not ok $name: exit status $status; out: $(head -c 300 "$work/out"); err: $(head -c 300 "$work/err")"
  fi
}

# One line on standard error, nothing on standard output, and this exit status; the line contains the words.
fails_with() {
  [ "$status" = "$1" ] && [ ! -s "$work/out" ] && [ "$(wc -l <"$work/err")" = 1 ] && grep -q '^microtome: error: ' "$work/err" &&
    grep -qF -- "$2" "$work/err"
}
succeeds() { [ "$status" = 0 ] && [ ! -s "$work/err" ]; }

# The lines of standard output are JSON, and the last one fulfils a Python expression over `r` (all of them: `rows`).
json_holds() {
  [ "$status" = 0 ] && "$python" - "$work/out" "$1" <<'END' 2>>"$work/err"
import json, math, sys
def refuse(name): raise ValueError(name)  # NaN and Infinity are not JSON
rows = [json.loads(line, parse_constant=refuse) for line in open(sys.argv[1], encoding="utf-8")]
r = rows[-1]
sys.exit(0 if eval(sys.argv[2]) else 1)
END
}

has_default_model() { "$MICROTOME" models --json 2>/dev/null | grep -q '"name":"smollm2-135m"'; }
