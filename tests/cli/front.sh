#!/usr/bin/env bash
# Help, version, completion, models, interruption.
source "$(dirname "$0")/common.bash"
export MICROTOME_HOME=$work/home

microtome --help
verdict help_lists_every_command bash -c 'for c in pull models inspect tokenize run trace lens perplexity bench serve completion; do grep -q "^  $c " "$1" || exit 1; done' - "$work/out"
microtome --version
verdict version_is_one_line grep -qxE 'microtome [0-9.]+' "$work/out"
for command in pull models inspect tokenize run trace lens perplexity bench serve completion; do
  microtome $command --help
  verdict "help_of_${command}_has_examples" bash -c 'grep -q "^Usage: microtome $2" "$1" && grep -A1 "^Examples" "$1" | grep -q microtome' - "$work/out" $command
done

microtome completion bash
verdict bash_reads_its_script bash -n "$work/out"
# complete_with WORDS...: what bash offers for the last word.
complete_with() {
  bash -c 'PATH="$(dirname "$1"):$PATH"; source "$2"; shift 2; COMP_WORDS=(microtome "$@"); COMP_CWORD=$#; _microtome; echo "${COMPREPLY[*]}"' - "$MICROTOME" "$work/script" "$@"
}
cp "$work/out" "$work/script"
verdict completes_commands [ "$(complete_with tok)" = tokenize ]
verdict completes_options [ "$(complete_with lens m --all)" = --all-points ]
verdict completes_choices [ "$(complete_with lens m --compute n)" = native ]
microtome completion zsh
if command -v zsh >/dev/null; then verdict zsh_reads_its_script zsh -n "$work/out"; else echo "ok zsh_reads_its_script # SKIP no zsh"; fi
verdict zsh_script_names_options grep -q -- '--all-points' "$work/out"
microtome completion fish
if command -v fish >/dev/null; then verdict fish_reads_its_script fish -n "$work/out"; else echo "ok fish_reads_its_script # SKIP no fish"; fi
verdict fish_script_names_options grep -q -- '-l all-points' "$work/out"

microtome models --json
verdict no_models_yet json_holds 'r == {"models": []}'
mkdir -p "$MICROTOME_HOME/models"
cp -r "$tiny" "$MICROTOME_HOME/models/tiny"
printf 'GGUF but not really' >"$MICROTOME_HOME/models/broken.gguf"
microtome models --json
verdict lists_models_beside_a_broken_one json_holds \
  '[m["name"] for m in r["models"]] == ["broken", "tiny"] and r["models"][1]["family"] == "llama" and r["models"][1]["parameters"] > 0 and set(r["models"][1]) == {"name", "path", "family", "parameters", "bytes", "license", "sha256"} and r["models"][0]["family"] is None and "error" in r["models"][0]'
microtome models
verdict shows_models_beside_a_broken_one bash -c 'grep -q "^tiny .*llama" "$1" && grep -q "^broken .*unreadable" "$1"' - "$work/out"
microtome lens tiny --tokens 1,2 --json
verdict a_model_is_found_by_name json_holds 'r["model"] == "tiny"'
microtome lens tine --tokens 1,2
verdict a_name_nearby_is_suggested fails_with 2 'did you mean tiny?'

# Ctrl-C while a hundred thousand prompts are written on. Background jobs of a script ignore SIGINT, so Python starts it.
python3 - "$MICROTOME" "$tiny" "$work/prompts.npy" >"$work/out" 2>"$work/err" <<'END'
import signal, struct, subprocess, sys
header = b"{'descr': '<i4', 'fortran_order': False, 'shape': (100000, 2), }".ljust(117) + b"\n"
with open(sys.argv[3], "wb") as f:
    f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + struct.pack("<i", 3) * 200000)
p = subprocess.Popen([sys.argv[1], "run", sys.argv[2], "--tokens-npy", sys.argv[3], "--json", "--stream"],
                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
p.stdout.readline()
p.send_signal(signal.SIGINT)
_, error = p.communicate()
sys.exit(0 if p.returncode == 130 and error == b"microtome: error: interrupted\n" else f"{p.returncode} {error}")
END
status=$?
verdict an_interruption_ends_with_130 [ $status = 0 ]
