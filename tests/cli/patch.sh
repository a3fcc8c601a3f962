#!/usr/bin/env bash
# patch: its fields, its pictures, and what it refuses.
source "$(dirname "$0")/common.bash"
export MICROTOME_HOME=$work/home
parallel=$root/tests/golden/models/neox_parallel bare=$root/tests/golden/models/attn_only_ln

printf '%s\n' '{"clean": [1, 2, 3, 4, 5, 6], "corrupted": [1, 2, 9, 4, 5, 6], "answer": [7], "wrong": [8]}' \
  '{"clean": [5, 4, 3, 2], "corrupted": [5, 4, 11, 2], "answer": [9], "wrong": [10]}' >"$work/pairs.jsonl"
printf '%s\n' '{"clean": [1, 2, 3], "corrupted": [1, 2], "answer": [7], "wrong": [8]}' >"$work/uneven.jsonl"
printf '%s\n' '{"clean": [1, 2, 3], "corrupted": [1, 9, 3], "answer": [7, 8], "wrong": [8]}' >"$work/long_answer.jsonl"
pairs=(--pairs "$work/pairs.jsonl")

microtome patch "$tiny" "${pairs[@]}" --json --quiet
verdict patch_has_its_fields json_holds \
  '{"model", "metric", "clean", "corrupted", "axes", "values", "low", "high", "raw", "macs", "seconds"} <= set(r) and r["metric"] == "logit-diff" and r["axes"] == ["layer", "pos"] and len(r["values"]) == 3 and len(r["values"][0]) == 6 and set(r["macs"]) == {"plain", "planned", "executed"}'
verdict cells_before_the_first_difference_are_exactly_0 json_holds 'all(row[:2] == [0, 0] for row in r["values"])'
verdict cells_lie_inside_their_intervals json_holds \
  'all(l <= v <= h for a, b, c in zip(r["low"], r["values"], r["high"]) for l, v, h in zip(a[:4], b[:4], c[:4]))'
microtome patch "$tiny" "${pairs[@]}" --json --quiet --threads 1
cp "$work/out" "$work/one"
microtome patch "$tiny" "${pairs[@]}" --json --quiet --threads 2
verdict threads_do_not_change_a_digit python3 -c 'import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
sys.exit(any(a[k] != b[k] for k in ("values", "low", "high", "raw", "macs")))' "$work/one" "$work/out"
microtome patch "$tiny" "${pairs[@]}" --json --quiet --site z --ablate zero,mean,resample
verdict ablations_stand_side_by_side json_holds \
  'r["axes"] == ["ablation", "layer", "head"] and r["ticks"]["ablation"] == ["zero", "mean", "resample"] and len(r["values"]) == 3 and r["direction"] == "noise" and r["values"][0] != r["values"][1]'
microtome patch "$tiny" "${pairs[@]}" --json --quiet --site pattern --by layer,head,dst,src --layers 1
verdict patterns_are_cut_into_entries json_holds \
  'r["axes"] == ["layer", "head", "dst", "src"] and r["ticks"]["layer"] == [1] and r["values"][0][0][2][3] is None and r["values"][0][0][3][2] is not None'
microtome patch "$tiny" "${pairs[@]}" --json --quiet --from a0.h1,m0 --to 'a2.h0<q>,logits'
verdict paths_are_senders_by_receivers json_holds 'r["axes"] == ["from", "to"] and r["ticks"]["to"] == ["a2.h0<q>", "logits"] and len(r["values"]) == 2'
microtome patch "$tiny" "${pairs[@]}" --json --quiet --by head,head --top 4
verdict pairs_of_heads_have_clusters json_holds 'r["axes"] == ["head", "head"] and len(r["heads"]) == 4 and r["values"][1][1] is None and isinstance(r["clusters"], list)'
microtome patch "$tiny" "${pairs[@]}" --json --quiet --site z --method atp --with-exact
verdict attribution_says_how_it_compares json_holds '-1 <= r["correlation"] <= 1 and r["method"] == "atp" and r["macs"]["executed"] < r["macs"]["plain"]'

COLUMNS=60 microtome patch "$tiny" "${pairs[@]}" --site z --by layer,head,pos --quiet --svg "$work/p.svg"
verdict the_picture_fits_the_terminal python3 -c 'import sys; sys.exit(max(len(line.rstrip("\n")) for line in open(sys.argv[1], encoding="utf-8")) > 60)' "$work/out"
verdict the_svg_is_xml python3 -c "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])" "$work/p.svg"

microtome patch "$tiny" --pairs "$work/uneven.jsonl"
verdict sides_of_different_length_are_refused fails_with 2 'has 3 tokens and the corrupted one 2'
microtome patch "$tiny" --pairs "$work/long_answer.jsonl"
verdict answers_of_several_tokens_are_refused fails_with 2 'holds 2 tokens, expected one'
microtome patch "$parallel" "${pairs[@]}" --site resid_mid
verdict sites_that_a_family_lacks_are_refused fails_with 2 'there is no state between them'
microtome patch "$bare" "${pairs[@]}" --site mlp_post
verdict models_without_mlps_say_so fails_with 2 'no MLPs'
microtome patch "$tiny" "${pairs[@]}" --site mlp_post --by layer,neuron --most 0.0000001
verdict a_large_sweep_says_what_it_would_cost fails_with 2 'multiply-adds'
microtome patch "$tiny" "${pairs[@]}" --from a2.h0 --to 'a1.h0<q>'
verdict a_path_backwards_is_refused fails_with 2 'no path leads'
microtome patch "$tiny" "${pairs[@]}" --from a9.h0
verdict a_node_that_is_not_there_is_refused fails_with 2 'layers 0 to 2'
microtome patch "$tiny" "${pairs[@]}" --ablate zero,median
verdict an_unknown_ablation_is_refused fails_with 2 'expected zero, mean, resample'
microtome patch "$tiny"
verdict no_prompts_are_refused fails_with 2 'no prompts'
microtome patch "$tiny" "${pairs[@]}" --site resid_pree
verdict a_site_that_is_near_is_suggested fails_with 2 'did you mean "resid_pre"?'
microtome patch "$tiny" --task iio
verdict a_task_that_is_near_is_suggested fails_with 2 'did you mean "ioi"?'
microtome patch "$tiny" "${pairs[@]}" --top 5
verdict top_belongs_to_pairs_of_heads fails_with 2 'by head,head'
microtome patch "$tiny" "${pairs[@]}" --site resid_pre --most 0
verdict a_small_sweep_has_its_own_size fails_with 2 'less than a minute'
microtome patch "$tiny" "${pairs[@]}" --site z --by layer,head --sources 0
verdict a_choice_without_an_axis_is_named fails_with 2 'sources are chosen, but the map has no such axis; it is cut by layer,head'
microtome patch "$tiny" --clean a --corrupted b --answer c
verdict texts_without_a_tokenizer_need_pairs_of_ids fails_with 2 '--pairs'
microtome patch "$tiny" "${pairs[@]}" --most 1e300
verdict a_number_that_is_too_large_hears_the_most fails_with 2 '0 to 1000000000'
microtome patch "$tiny" --pairs - </dev/null
verdict standard_input_is_called_so fails_with 2 'standard input holds no pairs'
