#!/usr/bin/env bash
# weights: every verb's fields, filters, and what is refused.
source "$(dirname "$0")/common.bash"

# rows NAME EXPRESSION ARGUMENTS...
rows() {
  local name=$1 expression=$2
  shift 2
  microtome weights "$tiny" "$@" --json --quiet
  verdict "$name" json_holds "$expression"
}

rows copying_gives_every_head_its_spectrum \
  "len(r['rows']) == 12 and all(len(x['eigenvalues']) == 8 and -1 <= x['score'] <= 1 for x in r['rows'])" copying --draws 4
rows matching_takes_an_offset "r['offset'] == 3 and len(r['rows']) == 1" matching --heads 1.2 --offset 3 --draws 4
rows composition_counts_every_pair \
  "r['pairs'] == 48 and len(r['rows']) == 144 and all(x['from']['layer'] < x['to']['layer'] for x in r['rows'])" composition --draws 10
rows composition_bounds_its_ends "len(r['rows']) == 4" composition --to 1.0 --kind k --draws 10
rows pairs_name_source_and_target "len(r['rows']) == 5 and 'id' in r['rows'][0]['target']" pairs --heads 0.1 --top 5
rows skip_trigrams_name_three_tokens "all('id' in x[f] for x in r['rows'] for f in ('source', 'via', 'target'))" \
  skip-trigrams --heads 0.1
rows bigrams_are_log_probabilities "all(x['logprob'] <= 0 for x in r['rows'])" bigrams --top 7
rows svd_reads_both_sides "[x['side'] for x in r['rows']] == ['read', 'write'] * 2" svd --heads 0.1 --directions 2
rows neurons_of_a_gated_mlp "all(abs(x['cos_gate']) <= 1 for x in r['rows'])" neurons --top 5
rows induction_names_an_earlier_head "all(x['via']['layer'] < x['layer'] for x in r['rows'])" induction
rows virtual_heads "len(r['rows']) == 3" virtual --top 3 --draws 10
rows residual_ranks_deletion "r['rows'][0]['score'] >= r['rows'][-1]['score']" residual --top 10

microtome weights "$tiny" nonsense
verdict an_unknown_verb_lists_them fails_with 2 "expected one of copying"
microtome weights "$tiny" bigrams --circuit qk
verdict an_option_of_another_verb_is_refused fails_with 2 "does not use circuit"
microtome weights "$tiny" copying --heads 9.9
verdict a_head_beyond_the_model_is_refused fails_with 2 "counted from 0"
microtome weights "$tiny" copyin
verdict a_verb_that_is_near_is_suggested fails_with 2 'did you mean "copying"?'
microtome weights "$tiny" composition --from 1.0 --to 0.0
verdict ends_the_wrong_way_round_are_refused fails_with 2 "the lower layer"
microtome weights "$tiny" virtual --to 0.0
verdict nothing_lies_below_the_first_layer fails_with 2 "the lower layer"
microtome weights "$tiny" bigrams --source x
verdict a_text_without_a_tokenizer_is_refused fails_with 2 "give a token as #id"
