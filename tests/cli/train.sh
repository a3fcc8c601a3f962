#!/usr/bin/env bash
# train lens: taken up again after kill -9 and after Ctrl-C with the same bytes; what is refused; lenses of other models.
source "$(dirname "$0")/common.bash"
export MICROTOME_HOME=$work/home OMP_WAIT_POLICY=passive

# A tiny model with a tokenizer of one token a character, and text for it.
mkdir "$work/model"
cp "$root/tests/golden/models/gpt2/config.json" "$root/tests/golden/models/gpt2/model.safetensors" "$work/model"
"$python" - "$root/tests/golden/text/gpt2.tokenizer.json" "$work" <<'END_OF_PYTHON'
import json, random, sys
t = json.load(open(sys.argv[1], encoding="utf-8"))
t["model"]["vocab"] = {chr(33 + i): i for i in range(94)}
t["model"]["merges"] = []
t["added_tokens"] = []
t["post_processor"] = None
json.dump(t, open(sys.argv[2] + "/model/tokenizer.json", "w"))
draw = random.Random(1)
with open(sys.argv[2] + "/text.jsonl", "w") as f:
    for _ in range(60):
        f.write(json.dumps({"text": "".join(draw.choice("abcdefghij") for _ in range(120))}) + "\n")
END_OF_PYTHON
train() { # DIR ARGUMENTS...
  local out=$1
  shift
  microtome train lens "$work/model" --text "$work/text.jsonl" --context 24 --threads 1 --out "$work/$out" --quiet "$@"
}
same_run() { # DIR DIR
  local file
  [ "$status" = 0 ] || return 1
  for file in lens.safetensors state.safetensors metrics.jsonl; do cmp -s "$work/$1/$file" "$work/$2/$file" || return 1; done
}
# Starts a run in $1 and sends it signal $2 when its metrics have $3 lines.
stopped() {
  local out=$1 signal=$2 lines=$3
  shift 3
  "$MICROTOME" train lens "$work/model" --text "$work/text.jsonl" --context 24 --threads 1 --out "$work/$out" --quiet "$@" \
    >"$work/out" 2>"$work/err" &
  local pid=$!
  while kill -0 $pid 2>/dev/null; do
    [ -f "$work/$out/state.safetensors" ] && [ "$(cat "$work/$out/metrics.jsonl" 2>/dev/null | wc -l)" -ge "$lines" ] && break
    sleep .01
  done
  kill -"$signal" $pid 2>/dev/null
  wait $pid 2>/dev/null
  status=$?
}

for kind in tuned jacobian; do
  if [ $kind = tuned ]; then more=(--kind tuned --batch 64 --tokens 64000); else more=(--kind jacobian --tokens 14400); fi
  train $kind-whole "${more[@]}"
  verdict "$kind: a fit is written" succeeds
  for lines in 0 3 150; do
    stopped $kind-killed-$lines KILL $lines "${more[@]}"
    verdict "$kind: kill -9 at $lines lines comes before the end" [ "$status" = 137 ]
    train $kind-killed-$lines "${more[@]}" --resume
    verdict "$kind: killed at $lines lines and taken up, the same bytes" same_run $kind-whole $kind-killed-$lines
  done
  stopped $kind-stopped INT 50 "${more[@]}"
  verdict "$kind: Ctrl-C comes before the end" [ "$status" = 130 ]
  steps_kept() { "$python" -c '
import json, sys
raw = open(sys.argv[1] + "/state.safetensors", "rb").read()
step = json.loads(json.loads(raw[8:8 + int.from_bytes(raw[:8], "little")])["__metadata__"]["values"])["step"]
sys.exit(step != sum(1 for _ in open(sys.argv[1] + "/metrics.jsonl")) or step < 50)' "$work/$1"; }
  verdict "$kind: Ctrl-C keeps every step taken" steps_kept $kind-stopped
  train $kind-stopped "${more[@]}" --resume
  verdict "$kind: stopped and taken up, the same bytes" same_run $kind-whole $kind-stopped
done

# change DIR EXPRESSION: over the header h of its state, and v, its values.
change() {
  rm -rf "$work/changed"
  cp -r "$work/$1" "$work/changed"
  "$python" - "$work/changed/state.safetensors" "$2" <<'END_OF_PYTHON'
import json, sys
raw = open(sys.argv[1], "rb").read()
n = int.from_bytes(raw[:8], "little")
h, data = json.loads(raw[8:8 + n]), bytearray(raw[8 + n:])
v = json.loads(h["__metadata__"]["values"])
exec(sys.argv[2])
h["__metadata__"]["values"] = json.dumps(v)
head = json.dumps(h).encode()
head += b" " * (-len(head) % 8)
open(sys.argv[1], "wb").write(len(head).to_bytes(8, "little") + head + data)
END_OF_PYTHON
}
for kind in tuned jacobian; do
  if [ $kind = tuned ]; then more=(--kind tuned --batch 64 --tokens 64000) own=steps_done; else more=(--kind jacobian --tokens 14400) own=n_done; fi
  for edit in 'v["step"] = -5' 'v["step"] = 10**15' "v['$own'] = -5" "v['step'] = v['$own'] = 10**15" "v['step'] = 1e300" \
    'data[:] = b"\xff" * len(data)' 'h["__metadata__"]["format"] = "x"' 'del v["options"]' \
    '[t["shape"].append(1) for k, t in h.items() if "shape" in t]'; do
    change $kind-whole "$edit"
    train changed "${more[@]}" --resume
    verdict "$kind: a state with $edit is refused" fails_with 2 "$work/changed/"
  done
done

microtome train lens "$work/model" --text "$work/text.jsonl" --kind jacobian --batch 5 --out "$work/none"
verdict batch_of_a_jacobian_lens_is_refused fails_with 2 '--batch'
train full --kind jacobian --tokens 48 --export /dev/full
verdict a_full_device_is_named fails_with 1 '/dev/full'

# Another model of the same shapes.
train tiny --kind jacobian --tokens 48 --export "$work/pub.pt"
cp -r "$work/model" "$work/other"
"$python" - "$work/other/model.safetensors" <<'END_OF_PYTHON'
import sys
raw = bytearray(open(sys.argv[1], "rb").read())
raw[-2] ^= 1
open(sys.argv[1], "wb").write(raw)
END_OF_PYTHON
for lens in "$work/pub.pt" "$work/tiny/lens.safetensors"; do
  microtome lens "$work/model" --tokens 1,2,3 --jacobian "$lens" --json
  verdict "${lens##*/}: fits its own model" succeeds
  microtome lens "$work/other" --tokens 1,2,3 --jacobian "$lens"
  verdict "${lens##*/}: another model is refused" fails_with 2 'SHA-256'
done
# The same lens as a file from elsewhere, which names no model.
"$python" - "$work/pub.pt" "$work/elsewhere.pt" <<'END_OF_PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as a, zipfile.ZipFile(sys.argv[2], "w") as b:
    for name in a.namelist():
        b.writestr(name, a.read(name).replace(b"model_sha256", b"model_sha257"))
END_OF_PYTHON
doubted() { [ "$(wc -l <"$work/err")" = 1 ] && grep -q 'only its shapes' "$work/err"; }
microtome lens "$work/other" --tokens 1,2,3 --jacobian "$work/elsewhere.pt" --json
verdict a_lens_that_names_no_model_is_doubted doubted
verdict in_the_result_too json_holds 'len(r["warnings"]) == 1 and "only its shapes" in r["warnings"][0]'
microtome lens "$work/other" --tokens 1,2,3 --jacobian "$work/elsewhere.pt" --json --quiet
verdict quiet_says_nothing succeeds
microtome run "$work/other" --tokens 1,2,3 --max-tokens 1 --edit "$work/elsewhere.pt@0=ablate:a"
verdict an_edit_through_it_is_doubted grep -q "only its shapes" "$work/err"
