#!/usr/bin/env bash
# Commands on text, with the default model: the same bytes whatever the way in, and what a person sees.
source "$(dirname "$0")/common.bash"
model=smollm2-135m
if ! has_default_model; then
  echo "ok text # SKIP the default model is not here"
  exit
fi

printf 'Hi there\n\nB\xc3\xa9 \xe6\x97\xa5' >"$work/text"
microtome tokenize $model --file "$work/text" --json
verdict tokenize_has_its_fields json_holds 'set(r) == {"model", "ids", "tokens"} and len(r["ids"]) == len(r["tokens"]) and r["tokens"][:2] == ["Hi", " there"]'
cp "$work/out" "$work/by_file"
"$MICROTOME" tokenize $model --file - --json <"$work/text" >"$work/out" 2>"$work/err"
status=$?
verdict standard_input_is_the_same_input cmp -s "$work/out" "$work/by_file"
microtome tokenize $model --prompt "$(cat "$work/text")" --json
verdict an_argument_is_the_same_input cmp -s "$work/out" "$work/by_file"
microtome tokenize $model --file "$work/text" --lines
verdict lines_come_one_by_one json_holds 'len(rows) == 3 and rows[0]["tokens"] == ["Hi", " there"] and rows[1]["ids"] == [] and "<0xE6>" in "".join(r["tokens"])'
microtome tokenize $model --prompt '' --json
verdict an_empty_text_has_no_tokens json_holds 'r["ids"] == [] and r["tokens"] == []'
microtome tokenize $model --prompt $'a b\n\e[31m'
verdict pieces_are_visible_and_inert bash -c 'grep -q "·b" "$1" && grep -q "↵" "$1" && grep -q "<U+001B>" "$1" && ! grep -q $'"'\\e'"' "$1"' - "$work/out"
microtome tokenize $model --chat --prompt Hi --json
verdict chat_wraps_the_text json_holds 'r["tokens"][0] == "<|im_start|>" and "Hi" in r["tokens"]'
microtome lens $model --prompt ''
verdict an_empty_prompt fails_with 2 'prompt is empty'
microtome lens $model --prompt= --json
verdict an_empty_value_is_a_value fails_with 2 'prompt is empty'
microtome lens $model --prompt x --target 'two words'
verdict a_target_of_several_tokens fails_with 2 'not one token'
microtome run $model --prompt x --stop ''
verdict an_empty_stop fails_with 2 '--stop is empty'

prompt='The capital of Portugal is the city of'
microtome lens $model --prompt "$prompt" --positions last --target ' Lisbon' --json
verdict lisbon_rises_through_the_layers json_holds \
  'r["cells"][-1][0]["top"][0]["text"] == " Lisbon" and r["cells"][-1][0]["target"]["rank"] == 1 and r["cells"][0][0]["target"]["rank"] > 1000 and len(r["points"]) == 31'
COLUMNS=80 microtome lens $model --prompt "$prompt" --positions last --target ' Lisbon'
verdict the_last_position_is_a_table bash -c 'grep -q "entropy.*KL to end.*target %.*rank" "$1" && grep -qE "^ *end .* 1  ·Lisbon" "$1"' - "$work/out"

microtome run $model --prompt 'One, two, three,' --max-tokens 6 --json
verdict run_writes_on json_holds 'r["text"].startswith(" four, five")'
text=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["text"])' "$work/out")
microtome run $model --prompt 'One, two, three,' --max-tokens 6
verdict standard_output_is_the_text_alone [ "$status:$(cat "$work/out")" = "0:$text" ]
verdict timing_is_a_remark grep -q 'tokens/s' "$work/err"
microtome run $model --prompt 'One, two, three,' --max-tokens 6 --quiet
verdict quiet_leaves_remarks_out succeeds
microtome run $model --prompt 'One, two, three,' --max-tokens 6 --stop ', five' --stop '[x,y]' --json
verdict a_stop_text_ends_it json_holds 'r["text"] == " four" and r["finish"] == "stop"'
microtome run $model --prompt 'One, two, three,' --max-tokens 6 --no-cache --json
verdict the_cache_changes_no_token json_holds 'r["text"].startswith(" four, five")'

# On a terminal: colour, unless NO_COLOR says otherwise.
on_terminal() { COLUMNS=80 script -qec "$(printf '%q ' "$MICROTOME" lens $model --prompt 'Hi there' --positions all)" /dev/null >"$work/out" 2>"$work/err"; }
if command -v script >/dev/null; then
  NO_COLOR= on_terminal
  status=$?
  verdict a_terminal_gets_colours grep -q $'\e\[48;5;' "$work/out"
  on_terminal
  verdict no_color_is_honoured bash -c '! grep -q $'"'\\e'"' "$1"' - "$work/out"
else
  echo "ok a_terminal_gets_colours # SKIP no script(1)"
fi
