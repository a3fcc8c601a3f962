#!/usr/bin/env bash
# Results: JSON with the promised fields on standard output, files where --out says, the same for every kind of input.
source "$(dirname "$0")/common.bash"
export MICROTOME_HOME=$work/home

microtome inspect "$tiny" --json
verdict inspect_has_its_fields json_holds \
  'set(r) == {"model", "config", "tensors", "sites"} and set(r["config"]) == {"family", "n_layers", "d_model", "n_heads", "n_kv_heads", "d_head", "d_mlp", "vocab", "context"} and set(r["tensors"][0]) == {"name", "shape", "dtype", "bytes"} and set(r["sites"][0]) == {"name", "shape"}'
microtome inspect "$tiny"
verdict inspect_shows_tables grep -q 'blocks.\*.hook_resid_post' "$work/out"

microtome lens "$tiny" --tokens 5,17,3 --json --target next --top 3
verdict lens_has_its_fields json_holds \
  'len(r["tokens"]) == 3 and r["positions"] == [0, 1, 2] and len(r["cells"]) == len(r["points"]) and len(r["cells"][0][0]["top"]) == 3 and set(r["cells"][0][0]) == {"top", "entropy", "kl_to_final", "target"} and r["cells"][0][0]["target"]["id"] == 17 and r["cells"][0][2]["target"] is None'
cp "$work/out" "$work/by_tokens"
python3 - "$work" "$root" <<'END'
import struct, sys
header = "{'descr': '<i8', 'fortran_order': False, 'shape': (%s), }"
for name, shape, values in (("one.npy", "3,", (5, 17, 3)), ("two.npy", "2, 3", (5, 17, 3, 1, 2, 3))):
    text = header % shape
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    with open(f"{sys.argv[1]}/{name}", "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + struct.pack(f"<{len(values)}q", *values))
END
microtome lens "$tiny" --tokens-npy "$work/one.npy" --json --target next --top 3
verdict tokens_of_a_file_are_the_same_input cmp -s "$work/out" "$work/by_tokens"
microtome lens "$tiny" --tokens-npy "$work/two.npy" --json
verdict several_prompts_give_a_line_each json_holds 'len(rows) == 2 and rows[0]["tokens"][0]["id"] == 5 and rows[1]["tokens"][0]["id"] == 1'
microtome lens "$tiny" --tokens=5,17,3 --json --target=next --top=3 --out "$work/result"
verdict out_holds_what_standard_output_would cmp -s "$work/result" "$work/by_tokens"
microtome lens "$tiny" --tokens 5,17,3 --json --target next --top 3 --threads 1
verdict threads_do_not_change_a_digit cmp -s "$work/out" "$work/by_tokens"
microtome lens "$tiny" --tokens 5,17,3 --json --edit resid_post0=zero
verdict an_edit_changes_the_lens json_holds 'r["cells"][-1] != json.loads(open("'"$work/by_tokens"'").read())["cells"][-1]'
COLUMNS=60 microtome lens "$tiny" --tokens 5,17,3,4,5,6,7,8,9
verdict the_table_fits_the_terminal python3 -c 'import sys; sys.exit(max(len(line.rstrip("\n")) for line in open(sys.argv[1], encoding="utf-8")) > 60)' "$work/out"

microtome lens "$tiny" --tokens 5,17,3 --svg "$work/l.svg" --html "$work/l.html" --quiet
verdict pictures_are_written succeeds
verdict the_svg_is_xml python3 -c "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])" "$work/l.svg"
verdict the_page_asks_for_nothing bash -c '! grep -qE "(src|href)=|url\(|@import|fetch\(" "$1"' - "$work/l.html"
microtome lens "$tiny" --tokens-npy "$work/two.npy" --svg "$work/l.svg"
verdict a_picture_is_of_one_prompt fails_with 2 'show one prompt'

microtome run "$tiny" --tokens 5,17,3 --max-tokens 4 --json
verdict run_has_its_fields json_holds \
  'set(r) == {"model", "prompt_ids", "ids", "text", "finish", "timing"} and r["prompt_ids"] == [5, 17, 3] and len(r["ids"]) == 4 and set(r["timing"]) == {"prompt_s", "decode_s", "decode_tokens_per_s"}'
microtome run "$tiny" --tokens 5,17,3 --max-tokens 4 --json --stream
verdict a_stream_is_a_line_for_each_token json_holds 'len(rows) == 5 and [x["id"] for x in rows[:4]] == r["ids"]'
microtome run "$tiny" --tokens 5,17,3 --max-tokens 0 --json
verdict no_new_tokens json_holds 'r["ids"] == [] and r["finish"] == "length"'
microtome run "$tiny" --tokens 5,17,3 --max-tokens 4 --sites resid_post0 --out "$work/run.npz" --json
verdict run_keeps_activations json_holds '__import__("zipfile").ZipFile("'"$work/run.npz"'").namelist() == ["tokens.npy", "blocks.0.hook_resid_post.npy"]'
for seed in 1 1 2; do
  microtome run "$tiny" --tokens 5,17,3 --max-tokens 16 --temperature 5 --seed $seed --json
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["ids"])' "$work/out" >>"$work/draws"
done
verdict a_seed_repeats_its_draws [ "$(uniq "$work/draws" | wc -l)" = 2 ]

microtome trace "$tiny" --tokens-npy "$work/two.npy" --sites 'blocks.*.hook_resid_post,logits' --sites pattern0 --grad --param-grad --out "$work/t.npz" --json
verdict trace_lists_what_it_wrote json_holds \
  'next(a for a in r["arrays"] if a["name"] == "tokens") == {"name": "tokens", "shape": [2, 3], "dtype": "int32"} and {"loss", "logits", "blocks.0.attn.hook_pattern", "grad.logits"} <= {a["name"] for a in r["arrays"]} and any(a["name"].startswith("pgrad.") for a in r["arrays"])'
verdict trace_wrote_it python3 -c 'import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip() is not None)' "$work/t.npz"

microtome perplexity "$tiny" --tokens 5,17,3,4,5,6,7,8 --context 4 --stride 2 --json
verdict perplexity_has_its_fields json_holds 'r["tokens"] == 7 and len(r["per_position"]) == 3 and abs(math.exp(r["loss"]) - r["perplexity"]) < 1e-9 * r["perplexity"]'

# The reader of standard output leaves.
"$MICROTOME" completion zsh 2>"$work/err" | head -c 1 >"$work/out"
status=${PIPESTATUS[0]}
verdict a_reader_that_leaves_ends_it_quietly succeeds
