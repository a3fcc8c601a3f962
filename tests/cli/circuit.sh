#!/usr/bin/env bash
# circuit: its verbs on a model without a tokenizer, files that are wrong, options that a verb does not use.
source "$(dirname "$0")/common.bash"
export MICROTOME_HOME=$work/home
pairs=(--pairs "$work/pairs.jsonl")
printf '%s\n' '{"clean": [5, 17, 3, 60, 8], "corrupted": [5, 9, 3, 60, 8], "answer": [31], "wrong": [9]}' \
  '{"clean": [5, 11, 3, 60, 8], "corrupted": [5, 19, 3, 60, 8], "answer": [12], "wrong": [19]}' >"$work/pairs.jsonl"

microtome circuit "$tiny" find "${pairs[@]}" --method eap --edges 20 --refine 3 --random 1 --out "$work/c.json" --quiet
verdict find_writes_a_circuit [ "$status" = 0 -a -s "$work/c.json" ]
microtome circuit "$tiny" eval "$work/c.json" "${pairs[@]}" --json --quiet
verdict eval_measures_it json_holds 'r["refined"]["edges"] == 3 and len(r["edges"]) <= 20 and r["n_edges"] == len(r["scores"]) and 0 <= r["kl"]'
microtome circuit "$tiny" run - "${pairs[@]}" --json --quiet <"$work/c.json"
verdict a_circuit_comes_through_standard_input json_holds 'len(r["prompts"]) == 2'
microtome circuit "$tiny" eval "$work/c.json" "${pairs[@]}" --compute f32,f32 --json
verdict a_warning_is_given_once_for_several_computes [ "$(sort "$work/err" | uniq -d | wc -l)" = 0 -a "$status" = 0 -a -s "$work/err" ]
microtome circuit "$tiny" find "${pairs[@]}" --method acdc --tau 0.001 --no-measure --json --quiet
verdict acdc_says_what_it_tried json_holds 'r["method"] == "acdc" and r["acdc"]["tau"] == 0.001 and r["acdc"]["tested"] > 0'
microtome circuit "$tiny" find "${pairs[@]}" --method eap --select ilp --edges 12 --time-limit 5 --no-measure --json --quiet
verdict ilp_says_how_far_it_got json_holds '0 < len(r["edges"]) <= 12 and r["ilp"]["value"] <= r["ilp"]["bound"] * (1 + 1e-9)'
for format in eap-ig auto-circuit; do
  microtome circuit "$tiny" export "$work/c.json" --format "$format" --out "$work/$format.json"
  microtome circuit "$tiny" eval "$work/$format.json" "${pairs[@]}" --random 0 --json --quiet
  verdict "an_exported_circuit_is_read_back_$format" json_holds \
    '{(e["from"], e["to"]) for e in r["edges"]} == {(e["from"], e["to"]) for e in json.load(open("'"$work/c.json"'"))["edges"]}'
done
microtome circuit "$tiny" find "${pairs[@]}" --method eap --positions --edges 60 --no-measure --out "$work/p.json" --quiet
microtome circuit "$tiny" export "$work/p.json" "${pairs[@]}" --format neuronpedia
verdict a_graph_for_neuronpedia_has_links json_holds 'r["links"] and {l["source"] for l in r["links"]} <= {n["node_id"] for n in r["nodes"]}'

# with FIELD VALUE: the circuit with a field that is another.
with() {
  "$python" -c 'import json, sys
c = json.load(open(sys.argv[1])); c[sys.argv[2]] = json.loads(sys.argv[3]); json.dump(c, open(sys.argv[4], "w"))' \
    "$work/c.json" "$1" "$2" "$work/bad.json"
}
for value in '{}' '{"n": 1}' '{"edges": []}' '7'; do
  with refined "$value"
  microtome circuit "$tiny" eval "$work/bad.json" "${pairs[@]}"
  verdict "a_wrong_refinement_is_refused_$value" fails_with 2 'bad.json: "refined'
done
with n_edges 5
microtome circuit "$tiny" run "$work/bad.json" "${pairs[@]}"
verdict another_number_of_edges_is_refused fails_with 2 '"n_edges" is 5'
with examples '{"task": "nosuch"}'
microtome circuit "$tiny" eval "$work/bad.json"
verdict prompts_of_a_file_are_refused_by_its_name fails_with 2 'bad.json: "examples": '
microtome circuit "$tiny" eval /dev/zero "${pairs[@]}"
verdict a_device_is_no_circuit fails_with 2 'not a regular file'
microtome circuit "$tiny" eval "$work/c.json" --pairs /dev/zero
verdict a_device_holds_no_pairs fails_with 2 'not a regular file'
microtome neurons "$tiny" --facts /dev/zero
verdict a_device_holds_no_facts fails_with 2 'not a regular file'
for option in '--edges 5' '--method eap' '--refine 2' '--select top' '--format eap-ig'; do
  microtome circuit "$tiny" eval "$work/c.json" "${pairs[@]}" $option
  verdict "eval_refuses_$option" fails_with 2 'circuit eval does not use'
done
microtome circuit "$tiny" find "${pairs[@]}" --method eap --steps 5
verdict steps_need_an_integral fails_with 2 'method eap does not use steps'
microtome circuit "$tiny" find "$work/c.json" "${pairs[@]}"
verdict find_reads_no_circuit fails_with 2 'takes no file'
microtome circuit --help
verdict help_says_repeatable_once [ "$(grep -ci 'repeatable.*repeatable' "$work/out")" = 0 -a "$(grep -c 'export' "$work/out")" -gt 2 ]
