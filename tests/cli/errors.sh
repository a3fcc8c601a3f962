#!/usr/bin/env bash
# Wrong use and bad input: exit status 2 and one line that says what to do; what fails while running: 1.
source "$(dirname "$0")/common.bash"
export MICROTOME_HOME=$work/home

# refused NAME WORDS ARGUMENTS...: status 2 and a line with the words.
refused() {
  local name=$1 words=$2
  shift 2
  microtome "$@"
  verdict "$name" fails_with 2 "$words"
}

refused no_command 'no command'
refused suggests_the_nearest_command 'did you mean lens?' lense
refused suggests_the_nearest_option 'did you mean --prompt?' lens "$tiny" --promt x
refused does_not_suggest_what_is_far 'unknown option --zebra; see' lens "$tiny" --zebra f
refused unexpected_argument 'unexpected argument "extra"' lens "$tiny" extra --tokens 1
refused missing_model 'MODEL is missing' lens
refused missing_value '--prompt needs a value' lens "$tiny" --prompt
refused missing_input 'no input' lens "$tiny"
refused several_inputs 'several inputs' lens "$tiny" --tokens 1 --prompt x
refused option_twice 'given twice' lens "$tiny" --tokens 1 --tokens 2
refused empty_model 'name is empty' lens '' --tokens 1
refused unknown_model 'no model "nope"' lens nope --tokens 1
refused known_model_that_is_absent 'microtome pull smollm2-135m' lens smollm2-135m --tokens 1
refused absent_file 'no such file' lens ./absent.gguf --tokens 1
refused name_that_is_not_utf8 'no model "\xff\xfe"' lens $'\xff\xfe' --tokens 1
refused command_that_is_not_utf8 '\xff' $'\xff'

refused negative_count '--top is "-3"' lens "$tiny" --tokens 1 --top -3
refused huge_count '--top is "99999999999999999999"' lens "$tiny" --tokens 1 --top 99999999999999999999
refused count_that_is_a_word '--max-tokens is "many"' run "$tiny" --tokens 1 --max-tokens many
refused fraction_for_a_count '--max-tokens is "1.5"' run "$tiny" --tokens 1 --max-tokens 1.5
refused no_threads '--threads is "0"' lens "$tiny" --tokens 1 --threads 0
refused temperature_nan '--temperature is "nan"' run "$tiny" --tokens 1 --temperature nan
refused temperature_infinite '--temperature is "inf"' run "$tiny" --tokens 1 --temperature inf
refused temperature_negative '--temperature is "-1"' run "$tiny" --tokens 1 --temperature=-1
refused probability_above_one '--top-p is "2"' run "$tiny" --tokens 1 --top-p 2
refused unknown_compute 'f32, bf16, native' lens "$tiny" --tokens 1 --compute f16
refused negative_token '"-3"' lens "$tiny" --tokens 5,-3
refused missing_token 'an id is ""' lens "$tiny" --tokens 5,,3
refused token_outside_of_the_vocabulary 'outside of the vocabulary' lens "$tiny" --tokens 999999
refused position_outside_of_the_prompt 'outside of the prompt' lens "$tiny" --tokens 1,2 --positions 2
refused text_without_a_tokenizer '--tokens' lens "$tiny" --prompt hello
refused perplexity_of_one_token 'nothing to score' perplexity "$tiny" --tokens 1
refused context_of_one '--context is "1"' perplexity "$tiny" --tokens 1,2 --context 1
refused trace_without_out '--out is missing' trace "$tiny" --tokens 1 --sites resid_post0
refused trace_without_sites 'no sites' trace "$tiny" --tokens 1 --out "$work/t.npz"
refused unknown_site 'nearest is' trace "$tiny" --tokens 1 --sites blocks.0.hook_resid_pst --out "$work/t.npz"
refused empty_site_name 'a name is empty' trace "$tiny" --tokens 1 --sites resid_post0, --out "$work/t.npz"
refused malformed_edit 'edit:' lens "$tiny" --tokens 1 --edit resid_post0
refused edit_with_an_absent_file 'absent.npy' lens "$tiny" --tokens 1 --edit resid_post0=set:absent.npy
refused unknown_model_to_pull 'known: smollm2-135m' pull nope
refused unknown_shell 'bash, zsh or fish' completion tcsh
refused port_out_of_range '--port is "70000"' serve --port 70000

: >"$work/empty"
printf 'GGUF\003\000\000\000' >"$work/short.gguf"
head -c 65536 /dev/zero >"$work/zeros.gguf"
head -c 2000 "$tiny/model.safetensors" >"$work/short.safetensors"
mkdir "$work/folder"
refused empty_prompts_file 'holds no prompt' lens "$tiny" --prompts "$work/empty"
refused folder_as_text 'is a folder' lens "$tiny" --file "$work/folder"
refused file_that_is_no_array 'not a NumPy file' lens "$tiny" --tokens-npy "$work/zeros.gguf"
refused model_cut_short 'short.gguf' inspect "$work/short.gguf"
refused model_of_zeros 'zeros.gguf' lens "$work/zeros.gguf" --tokens 1
refused safetensors_cut_short 'safetensors' inspect "$work/short.safetensors"
refused empty_folder 'folder' inspect "$work/folder"

# What cannot be written.
microtome lens "$tiny" --tokens 1,2 --svg "$work/absent/x.svg"
verdict folder_of_an_output_is_missing fails_with 1 'there is no folder'
microtome lens "$tiny" --tokens 1,2 --out /dev/full
verdict full_disk_for_a_file fails_with 1 /dev/full
microtome trace "$tiny" --tokens 1,2 --sites 'resid_post*' --out /dev/full
verdict full_disk_for_arrays fails_with 1 /dev/full
: >"$work/out"
"$MICROTOME" lens "$tiny" --tokens 1,2 --json >/dev/full 2>"$work/err"
status=$?
verdict full_disk_for_standard_output fails_with 1 'standard output'
"$MICROTOME" --help >&- 2>"$work/err"
status=$?
verdict closed_standard_output fails_with 1 'standard output'
touch "$work/kept"
echo before >"$work/kept"
microtome lens "$tiny" --tokens 1,99999 --out "$work/kept"
verdict a_failure_leaves_the_old_file grep -qx before "$work/kept"
