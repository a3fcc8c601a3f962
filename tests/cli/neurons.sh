#!/usr/bin/env bash
# neurons: fields, resuming, refusals; on a model without a tokenizer, whose facts are token ids.
source "$(dirname "$0")/common.bash"
export MICROTOME_HOME=$work/home
facts=$work/facts.jsonl
cat >"$facts" <<'END'
{"id": "a", "relation": "r", "subject": "s", "answer": [11], "new_answer": [4], "prompts": [[5, 17, 3], [5, 9, 3], [1, 17, 3]], "heldout": [[2, 17, 3]]}
{"id": "b", "relation": "r", "answer": 7, "new_answer": 9, "prompts": [[8, 2], [8, 4], [8, 6]]}

{"id": "c", "relation": "q", "answer": [12, 13], "new_answer": [1], "prompts": [[20, 21, 22, 23], [24, 21, 22, 23], [25, 21, 22, 23]]}
END

microtome neurons "$tiny" --facts "$facts" --json --suppress --rewrite --draws 3 --out "$work/n.json"
verdict neurons_writes_a_file [ "$status" = 0 -a -s "$work/n.json" -a -s "$work/n.json.found.jsonl" ]
verdict notes_name_what_is_doubtful grep -q 'the answer has 2 tokens' "$work/err"
cp "$work/n.json" "$work/out"
verdict neurons_has_its_fields json_holds \
  '{"model", "facts", "hubs", "perplexity", "locality"} <= set(r) and set(r["perplexity"]) >= {"before", "after"} and [f["id"] for f in r["facts"]] == ["a", "b", "c"] and all({"id", "prompt", "answer", "neurons", "effect"} <= set(f) for f in r["facts"]) and all({"layer", "index", "score"} <= set(n) for f in r["facts"] for n in f["neurons"]) and all(f["effect"] is None or {"target", "paraphrases", "controls", "random"} <= set(f["effect"]) for f in r["facts"])'
verdict every_operation_is_reported json_holds '[o["operation"] for o in r["operations"]] == ["suppress", "rewrite"] and "flipped" in r["operations"][1]'
verdict the_gap_is_given_per_prompt_and_layer json_holds \
  'len(r["facts"][0]["ig"]["gap"]) == 3 and len(r["facts"][0]["ig"]["gap"][0]) == 3 and r["facts"][0]["ig"]["worst"] <= 0.01'
verdict it_saves_work json_holds 'r["macs"]["executed"] <= 0.55 * r["macs"]["plain"]'

# Cut short after the first fact: the rest is found, the result is the same.
head -1 "$work/n.json.found.jsonl" >"$work/m.json.found.jsonl"
microtome neurons "$tiny" --facts "$facts" --json --suppress --rewrite --draws 3 --out "$work/m.json" --resume --quiet --threads 1
verdict a_resumed_run_ends_the_same python3 -c 'import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
a.pop("seconds"), b.pop("seconds")
sys.exit(a != b)' "$work/n.json" "$work/m.json"
sed 's/"score":[^,]*/"score":0.5/g' "$work/n.json.found.jsonl" >"$work/k.json.found.jsonl"
microtome neurons "$tiny" --facts "$facts" --json --find --out "$work/k.json" --resume --quiet
cp "$work/k.json" "$work/out"
verdict what_was_found_is_not_searched_again json_holds 'all(n["score"] == 0.5 for f in r["facts"] for n in f["neurons"] + f["hubs"]) and r["facts"][0]["effect"] is None'
sed 's/"neurons":\[[^]]*\]/"neurons":7/' "$work/n.json.found.jsonl" >"$work/k.json.found.jsonl"
microtome neurons "$tiny" --facts "$facts" --find --out "$work/k.json" --resume --quiet
verdict a_malformed_finding_is_refused fails_with 2 'search anew, without --resume'

microtome neurons "$tiny" --facts "$facts" --check --json
verdict check_says_what_is_right json_holds 'len(r["facts"][0]["prompts"]) == 3 and set(r["facts"][0]["heldout"][0]) == {"right", "probability"} and r["facts"][2]["answer_tokens"] == 2'
microtome neurons "$tiny" --facts "$facts" --find --quiet
verdict a_table_is_printed grep -q 'neurons (mean attribution)' "$work/out"

microtome neurons "$tiny"
verdict facts_are_needed fails_with 2 '--facts F.jsonl'
microtome neurons "$tiny" --facts "$work/none.jsonl"
verdict a_missing_file_is_named fails_with 2 'none.jsonl'
echo '{"id": "x", "answer": [1], "prompts": []}' >"$work/bad.jsonl"
microtome neurons "$tiny" --facts "$work/bad.jsonl"
verdict a_fact_without_prompts_is_refused fails_with 2 'fact "x" has no prompts'
echo '{"id": "x", "answer": [1], "prompts": [[1, 2]]}' >"$work/bad.jsonl"
microtome neurons "$tiny" --facts "$work/bad.jsonl" --rewrite
verdict a_rewrite_needs_a_new_answer fails_with 2 'new_answer'
echo '{"id": "x", "answer": [999999], "prompts": [[1, 2]]}' >"$work/bad.jsonl"
microtome neurons "$tiny" --facts "$work/bad.jsonl"
verdict ids_are_checked fails_with 2 'outside of the vocabulary'
echo '{"id": "x", "answer": "a", "prompts": ["b"]}' >"$work/bad.jsonl"
microtome neurons "$tiny" --facts "$work/bad.jsonl"
verdict texts_need_a_tokenizer fails_with 2 'tokenizer'
printf '{"id": "x"\n' >"$work/bad.jsonl"
microtome neurons "$tiny" --facts "$work/bad.jsonl"
verdict broken_lines_are_named fails_with 2 'bad.jsonl:1'
microtome neurons "$root/tests/golden/models/attn_only_ln" --facts "$facts"
verdict a_model_without_mlps_is_refused fails_with 2 'no MLPs'

# A last line cut short is left out; a malformed one names the file.
{ head -1 "$work/n.json.found.jsonl"; sed -n 2p "$work/n.json.found.jsonl" | head -c 100; } >"$work/t.json.found.jsonl"
microtome neurons "$tiny" --facts "$facts" --json --suppress --rewrite --draws 3 --out "$work/t.json" --resume
verdict a_line_cut_short_is_left_out grep -q 't.json.found.jsonl:2 is incomplete' "$work/err"
verdict and_found_again python3 -c 'import json, sys
a, b = (json.load(open(f)) for f in sys.argv[1:])
a.pop("seconds"), b.pop("seconds")
sys.exit(a != b)' "$work/n.json" "$work/t.json"
for change in 's/"layer":[0-9]*/"layer":1099511627776/g' 's/"right":[0-9]*/"right":"x"/' 's/"plain":/"plain":-/'; do
  sed "$change" "$work/n.json.found.jsonl" >"$work/t.json.found.jsonl"
  microtome neurons "$tiny" --facts "$facts" --find --out "$work/t.json" --resume --quiet
  field=$(cut -d '"' -f 2 <<<"$change")
  verdict "${field}_of_a_finding_is_checked" eval 'fails_with 2 t.json.found.jsonl && fails_with 2 "\"$field\" is"'
done
echo '{"id": "x", "answer": [1], "new_answer": [1], "prompts": [[1, 2]]}' >"$work/bad.jsonl"
microtome neurons "$tiny" --facts "$work/bad.jsonl" --rewrite
verdict a_new_answer_must_differ fails_with 2 'bad.jsonl: fact "x" has a "new_answer" that is its answer'
printf '{"id": "x", "answer": [1], "new_answer": [2], "prompts": [[1, 2]]}\n%.0s' 1 2 >"$work/bad.jsonl"
microtome neurons "$tiny" --facts "$work/bad.jsonl" --rewrite
verdict ids_must_differ fails_with 2 'fact "x" is there twice'
microtome neurons "$tiny" --facts "$facts" --steps 200 --most-steps 100
verdict steps_begin_below_their_most fails_with 2 'more than the most, 100'
