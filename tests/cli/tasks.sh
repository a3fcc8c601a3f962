#!/usr/bin/env bash
# tasks and paths: the fields, and what is refused.
source "$(dirname "$0")/common.bash"

microtome tasks "$tiny" --n 2 --json --quiet
verdict tasks_lists_all_with_the_reason_where_one_cannot_be_made json_holds \
  "len(r['tasks']) == 8 and all((t['accuracy'] is None) == ('reason' in t) for t in r['tasks'])"
microtome tasks "$tiny" --show induction --n 3 --json --quiet
verdict shown_prompts_of_random_tokens_are_ids json_holds \
  "len(r['prompts']) == 3 and all(len(p['clean']) == len(p['corrupted']) for p in r['prompts'])"
microtome tasks "$tiny" --show nonsense
verdict an_unknown_task_lists_them fails_with 2 "ioi, greater-than"

microtome paths "$tiny" --tokens 5,17,3 --target '#8' --versus '#9' --neurons 3 --json --quiet
verdict components_add_up_to_the_difference json_holds \
  "abs(sum(c['logit'] for c in r['components']) - r['logit']) < 1e-4 and len(r['neurons']) == 3 and r['terms'] == []"
microtome paths "$tiny" --tokens 5,17,3 --target '#8' --versus '#8'
verdict a_token_against_itself_is_refused fails_with 2 "same token"
microtome paths "$tiny" --tokens 5,17,3 --position 3
verdict a_position_beyond_the_prompt_is_refused fails_with 2 "outside of the prompt"
