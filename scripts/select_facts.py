#!/usr/bin/env python3
"""Select the facts that a model knows, from candidates (examples/facts/candidates.json).

  scripts/select_facts.py smollm2-135m --out examples/facts/smollm2.jsonl

Each relation's templates are asked of the model with `microtome neurons MODEL --check`. A fact is kept if its answer is one
token and the model's most probable continuation of at least PROMPTS + HELDOUT templates; of those, HELDOUT (drawn by a hash of
the fact's name, so that different facts hold out different templates) are held out, and the others are the fact's prompts. A
new answer, for rewrites, is the answer of another selected fact of the relation.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def candidates(path):
    for relation, spec in json.load(open(path, encoding="utf-8")).items():
        for subject, answer in spec["pairs"]:
            prompts = [t.replace("{s}", subject) for t in spec["templates"]]
            # A template that begins with a lower-case subject begins a sentence.
            prompts = [p[0].upper() + p[1:] for p in prompts]
            yield {"id": f"{relation}/{subject}", "relation": relation, "subject": subject, "answer": answer, "prompts": prompts}


def check(program, model, facts):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "candidates.jsonl")
        with open(path, "w", encoding="utf-8") as f:
            f.writelines(json.dumps(fact) + "\n" for fact in facts)
        run = subprocess.run([program, "neurons", model, "--facts", path, "--check", "--json"], stdout=subprocess.PIPE)
    if run.returncode != 0:
        sys.exit(run.returncode)
    return json.loads(run.stdout)["facts"]


def hash_of(*parts):
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def select(facts, checked, n_prompts, n_heldout, most_prompts, most_per_relation):
    kept = {}
    for fact, result in zip(facts, checked):
        right = [p for p, r in zip(fact["prompts"], result["prompts"]) if r["right"]]
        if result["answer_tokens"] != 1 or len(right) < n_prompts + n_heldout:
            continue
        held = set(sorted(right, key=lambda p: hash_of(fact["id"], p))[:n_heldout])
        found_on = [p for p in right if p not in held][:most_prompts]
        kept.setdefault(fact["relation"], []).append(
            {**fact, "prompts": found_on, "heldout": [p for p in right if p in held]})
    out = []
    for relation, group in kept.items():
        # The best known first, where there are more than wanted; then in the candidates' order.
        order = {f["id"]: i for i, f in enumerate(group)}
        best = sorted(group, key=lambda f: (-len(f["prompts"]), order[f["id"]]))[:most_per_relation]
        best.sort(key=lambda f: order[f["id"]])
        answers = sorted({f["answer"] for f in best})
        if len(answers) < 2:
            continue
        for f in best:
            others = [a for a in answers if a != f["answer"]]
            f["new_answer"] = min(others, key=lambda a: hash_of(f["id"], a))
            out.append({k: f[k] for k in ("id", "relation", "subject", "answer", "new_answer", "prompts", "heldout")})
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--candidates", default=os.path.join(ROOT, "examples/facts/candidates.json"))
    parser.add_argument("--program", default=os.environ.get("MICROTOME", os.path.join(ROOT, "build/bin/microtome")))
    parser.add_argument("--out", default="-")
    parser.add_argument("--prompts", type=int, default=6, help="right prompts that a fact needs (default 6)")
    parser.add_argument("--heldout", type=int, default=2, help="and held out (default 2)")
    parser.add_argument("--most-prompts", type=int, default=8, help="prompts kept for finding (default 8)")
    parser.add_argument("--per-relation", type=int, default=18, help="facts of one relation, at most (default 18)")
    args = parser.parse_args()
    facts = list(candidates(args.candidates))
    chosen = select(facts, check(args.program, args.model, facts), args.prompts, args.heldout, args.most_prompts, args.per_relation)
    lines = "".join(json.dumps(f, ensure_ascii=False) + "\n" for f in chosen)
    if args.out == "-":
        sys.stdout.write(lines)
    else:
        with open(args.out + ".part", "w", encoding="utf-8") as f:
            f.write(lines)
        os.replace(args.out + ".part", args.out)
    counts = {}
    for f in chosen:
        counts[f["relation"]] = counts.get(f["relation"], 0) + 1
    print(f"{len(chosen)} of {len(facts)} candidates: " + ", ".join(f"{k} {v}" for k, v in counts.items()), file=sys.stderr)


if __name__ == "__main__":
    main()
