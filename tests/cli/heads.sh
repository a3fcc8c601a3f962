#!/usr/bin/env bash
# heads: the promised fields, patterns from elsewhere, what is refused.
source "$(dirname "$0")/common.bash"
export MICROTOME_HOME=$work/home

microtome heads "$tiny" --repeat 8 --json
verdict heads_has_its_fields json_holds \
  '{"model", "heads", "icl", "prefix_matching", "controls", "verified", "labels", "measure"} <= set(r) and set(r["heads"][0]["scores"]) == {"previous", "current", "duplicate", "induction", "sink", "copying"} and r["measure"] == "stripe" and r["text"]["block"] == 8 and set(r["controls"]) == set(r["heads"][0]["scores"])'
cp "$work/out" "$work/first"
microtome heads "$tiny" --repeat 8 --json --threads 1
verdict the_same_digits_on_one_thread json_holds \
  'r["heads"] == json.loads(open("'"$work/first"'").read())["heads"]'
microtome heads "$tiny" --tokens 1,2,3,1,2,4 --detectors induction,previous --json
verdict text_that_does_not_repeat_is_scored_by_mul json_holds 'r["measure"] == "mul" and set(r["heads"][0]["scores"]) == {"induction", "previous"}'
microtome heads "$tiny" --repeat 6 --detectors induction --verify --draws 3 --top 1 --json
verdict verified_has_its_fields json_holds \
  'set(r["verified"][0]) >= {"layer", "head", "detector", "task", "metric", "ablation", "draws", "effect", "control_mean", "control_sd"} and r["verified"][0]["ablation"] == "mean" and r["verified"][0]["metric"] == "loss"'

python3 - "$work/p.npz" <<'END'
import io, struct, sys, zipfile
T = 10
values = [1 / (i + 1) if j <= i else 0 for i in range(T) for j in range(T)]
header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': (1, {T}, {T}), }}"
header += " " * (63 - (10 + len(header)) % 64) + "\n"
npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + struct.pack(f"<{T * T}f", *values)
with zipfile.ZipFile(sys.argv[1], "w") as z:
    z.writestr("pattern.npy", npy)
END
microtome heads "$tiny" --patterns "$work/p.npz" --tokens 0,1,2,3,4,5,6,7,8,9 --measure mul --json
verdict patterns_from_elsewhere_are_scored json_holds \
  'r["heads"][0]["layer"] is None and abs(r["heads"][0]["scores"]["previous"] - .192897) < 1e-6'
microtome heads "$tiny" --patterns "$work/p.npz" --tokens 0,1,2,3,4,5,6,7,8,9 --measure abs --json
verdict abs_too json_holds 'abs(r["heads"][0]["scores"]["previous"] + .514) < 5e-4'
python3 - "$work/p.npz" "$work/bad.npz" <<'END'
import struct, sys, zipfile
npy = bytearray(zipfile.ZipFile(sys.argv[1]).read("pattern.npy"))
struct.pack_into("<f", npy, len(npy) - 4 * 100 + 4 * 34, float("nan"))  # row 3, column 4
with zipfile.ZipFile(sys.argv[2], "w") as z:
    z.writestr("pattern.npy", bytes(npy))
END
microtome heads "$tiny" --patterns "$work/bad.npz" --tokens 0,1,2,3,4,5,6,7,8,9
verdict what_is_no_attention_is_refused fails_with 2 'head 0, row 3, column 4 is nan'

microtome heads "$tiny" --repeat 8 --svg "$work/h.svg" --quiet
verdict the_svg_is_xml python3 -c "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])" "$work/h.svg"
COLUMNS=60 microtome heads "$tiny" --repeat 8
verdict the_table_fits_the_terminal python3 -c 'import sys; sys.exit(max(len(line.rstrip("\n")) for line in open(sys.argv[1], encoding="utf-8")) > 60)' "$work/out"

microtome heads "$tiny" --repeat 8 --detectors previous --edit 'blocks.1.attn.hook_pattern,head=0=zero' --json
verdict edits_change_the_scores json_holds \
  'all((h["scores"]["previous"] == 0) == (h["layer"] == 1 and h["head"] == 0) for h in r["heads"])'

microtome heads "$tiny" --detectors inductoin
verdict an_unknown_detector_is_refused fails_with 2 'there is no detector'
microtome heads "$tiny" --tokens 1,2,3,4 --block 2
verdict text_that_is_no_block_is_refused fails_with 2 'not a block of 2 tokens repeated'
microtome heads "$tiny" --tokens 1,2,3,4 --measure stripe
verdict stripe_needs_a_block fails_with 2 'give --repeat'
