#!/usr/bin/env python3
"""Writes docs/findings/smollm2.md: what microtome's own commands find in the default model, every figure from a run made here.

    scripts/make_findings.py [PROGRAM] [--fresh] [--facts N]

Results of the single commands are kept in build/findings/*.json and used again (the long ones take up to an hour on two cores and
resume where they were cut off); --fresh makes all of them anew. The lenses are read from lenses/ under MICROTOME_HOME, as
`make lenses` leaves them; without them their section says so.
"""
import argparse
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUNS = ROOT / "build" / "findings"
MODEL = "smollm2-135m"
OUT = ROOT / "docs" / "findings" / "smollm2.md"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program", nargs="?", default=str(ROOT / "build" / "bin" / "microtome"))
parser.add_argument("--fresh", action="store_true")
parser.add_argument("--facts", type=int, default=24, help="facts whose neurons are sought, spread over the relations")
args = parser.parse_args()


def command(*words):
    return [args.program, words[0], MODEL, *words[1:]]


def result(name, *words, lines=False):
    """JSON of one command; `lines`: the last of its JSON lines."""
    file = RUNS / f"{name}.json"
    if args.fresh or not file.exists():
        line = command(*words, "--json")
        print("  " + " ".join(["microtome", *line[1:]]), file=sys.stderr)
        out = subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True).stdout
        file.write_text(out)
    text = file.read_text()
    return json.loads(text.strip().splitlines()[-1]) if lines else json.loads(text)


def table(head, rows, left=1):
    """A Markdown table; the first `left` columns to the left, numbers to the right."""
    out = ["| " + " | ".join(head) + " |", "|" + "|".join("---" if i < left else "--:" for i in range(len(head))) + "|"]
    out += ["| " + " | ".join(str(c) for c in row) + " |" for row in rows]
    return "\n".join(out)


def number(x, digits=3):
    return "–" if x is None else f"{x:.{digits}f}".replace("-", "−")


def percent(x, digits=0):
    return "–" if x is None else f"{100 * x:.{digits}f} %".replace("-", "−")


def head_name(h):
    return f"{h['layer']}.{h['head']}"


# --- sections --------------------------------------------------------------------------------------------------------------------

def heads_section():
    text = result("heads", "heads", "--verify")
    movers = result("movers", "heads", "--detectors", "name_mover,negative_mover,s_inhibition,successor,copy_suppression", "--verify")
    out = ["## Which heads do what", "",
           "60 random tokens said twice; scores are mean attention on the detector's target (copying: Σλ/Σ|λ| of W_O W_V W_U W_E). "
           "The control is the same score on random tokens that do not repeat, or on random weights (copying); its largest head is "
           "given because a detector finds something only above it.", ""]
    rows = []
    for source in (text, movers):
        for detector, control in source["controls"].items():
            best = sorted((h for h in source["heads"] if h["scores"].get(detector) is not None), key=lambda h: -h["scores"][detector])[:6]
            rows.append([detector.replace("_", " "), ", ".join(f"{head_name(h)} ({number(h['scores'][detector], 2)})" for h in best),
                         number(control.get("mean")), number(control.get("max"))])
    out += [table(["detector", "top heads", "control, mean", "control, largest"], rows, left=2), "",
            f"Loss on the second half of the repeated tokens: {number(text['loss']['repeated'], 2)}, on the first: "
            f"{number(text['loss']['first'], 2)} nats; in-context-learning score {number(text['icl'], 2)}.", ""]
    out += ["### Does it matter? Mean ablation beside random heads", "",
            "The detector's top heads together, their outputs replaced by their means on the detector's own task; beside it equally many "
            "other heads of the same layers (mean and spread over the draws).", ""]
    rows = []
    for source in (text, movers):
        for v in source["verified"]:
            if v["layer"] is not None:
                continue
            apart = abs(v["effect"] - v["control_mean"]) / v["control_sd"] if v["control_sd"] else None
            rows.append([v["detector"].replace("_", " "), ", ".join(head_name(h) for h in v["heads"]), f"{v['task']}, {v['metric']}",
                         number(v["base"], 2), number(v["effect"], 2),
                         f"{number(v['control_mean'], 2)} ± {number(v['control_sd'], 2)} ({v['draws']} draws)",
                         "–" if apart is None else f"{apart:.1f} sd"])
    out += [table(["detector", "heads", "task, metric", "as it is", "change", "random heads", "apart"], rows, left=3), ""]
    weak = [r[0] for r in rows if r[6] != "–" and float(r[6].split()[0]) < 2]
    if weak:
        out += [f"Not told apart from random heads (less than 2 sd): {', '.join(weak)}. A high score there says what the head looks "
                "at, not that the task needs it.", ""]
    return out


def weights_section():
    rows = result("composition", "weights", "composition", "--top", "12")["rows"]
    out = ["### Who reads whom: composition from the weights", "",
           "‖X‖/(‖·‖‖·‖) of all pairs of heads, offset 0, against Gaussian matrices of the same shapes.", "",
           table(["from", "to", "kind", "score", "baseline", "sd of the baseline"],
                 [[head_name(r["from"]), head_name(r["to"]), r["kind"], number(r["score"]), number(r["baseline"]), number(r["baseline_sd"], 4)]
                  for r in rows], left=3), ""]
    return out


def tasks_section():
    tasks = result("tasks", "tasks")["tasks"]
    failing = [t["name"] for t in tasks if not t["ok"]]
    return ["## Tasks: how often the model is right", "",
            table(["task", "prompts", "metric", "clean", "corrupted", "right"],
                  [[t["name"], t["n"], t["metric"], number(t["clean"]), number(t["corrupted"]), percent(t["accuracy"])] for t in tasks]), "",
            f"Fails: {', '.join(failing) or 'none'}.", ""]


def circuit_section():
    file = RUNS / "ioi.circuit.json"
    if args.fresh or not file.exists():
        line = command("circuit", "find", "--task", "ioi", "--n", "8", "--method", "eap-ig", "--edges", "1400", "--refine", "60",
                       "--out", str(file), "--quiet")
        line = [line[0], "circuit", MODEL, *line[3:]]
        print("  " + " ".join(["microtome", *line[1:]]), file=sys.stderr)
        subprocess.run(line, check=True)
    c = json.loads(file.read_text())
    out = ["## The IOI circuit", "",
           f"EAP-IG on inputs, {c['prompts']} prompts, {c['ablation']} ablation, metric {c['metric']} (all edges {number(c['full'], 2)}, none "
           f"{number(c['empty'], 2)}); the integral's gap is {percent(c['ig_gap'], 2) if c['ig_gap'] is not None else '–'}. The circuit of "
           f"{len(c['edges'])} edges out of {c['n_edges']} ({percent(len(c['edges']) / c['n_edges'], 1)}): faithfulness "
           f"{number(c['f'])} ({number(c['f_low'])} to {number(c['f_high'])}), completeness gap {number(c['completeness'])}, KL to the whole "
           f"model {number(c['kl'])} nats. Minimality {number(c['minimality'], 4)}; without {percent(c['needless'])} of its edges, taken "
           "one by one, nothing is lost.", "",
           f"CPR {number(c['cpr'])} ({number(c['cpr_low'])} to {number(c['cpr_high'])}), CMD {number(c['cmd'])} ({number(c['cmd_low'])} to "
           f"{number(c['cmd_high'])}). The null: random circuits of equal size.", "",
           table(["share of edges", "edges left", "faithfulness", "95 %", "random circuits (least to most)"],
                 [[percent(p["k"], 1), p["edges"], number(p["f"]), f"{number(p['low'])} to {number(p['high'])}",
                   f"{number(p['random'])} ({number(p['random_low'])} to {number(p['random_high'])})" if p.get("random") is not None else "–"]
                  for p in c["faithfulness"]], left=0), ""]
    top = [e for e in c["edges"]][:15]
    out += ["Its strongest edges:", "",
            table(["from", "to", "score", "patched exactly"],
                  [[e["from"], e["to"], number(e["score"]), number(e["exact"])] for e in top], left=2), ""]
    if c.get("missed") is not None:
        out += [f"Attribution beside truth: of the effect found by patching exactly, {percent(c['missed'])} lies, by a random sample, in "
                "edges that were rejected.", ""]
    return out


def neurons_section():
    source = [json.loads(line) for line in (ROOT / "examples" / "facts" / "smollm2.jsonl").read_text().splitlines() if line.strip()]
    by_relation = {}
    for fact in source:
        by_relation.setdefault(fact["relation"], []).append(fact)
    chosen = []
    while len(chosen) < min(args.facts, len(source)):
        for facts in by_relation.values():
            if facts and len(chosen) < args.facts:
                chosen.append(facts.pop(0))
    facts_file = RUNS / "facts.jsonl"
    facts_file.write_text("".join(json.dumps(f, ensure_ascii=False) + "\n" for f in chosen))
    file = RUNS / "neurons.json"
    if args.fresh or not file.exists():
        line = command("neurons", "--facts", str(facts_file), "--suppress", "--amplify", "--erase", "--rewrite", "--json", "--out", str(file),
                       "--resume")
        print("  " + " ".join(["microtome", *line[1:]]), file=sys.stderr)
        subprocess.run(line, check=True)
    n = json.loads(file.read_text())
    without = [f["id"] for f in n["facts"] if not f["neurons"]]
    out = ["## Knowledge neurons", "",
           f"{len(n['facts'])} facts that the model knows, over {len(by_relation)} relations. Figures are relative changes of the answer's "
           "probability, means over facts: the fact's own prompts, paraphrases that were held out, control facts, and 20 draws of equally "
           "many random neurons of the same layers.", "",
           table(["operation", "target", "paraphrases", "control facts", "random neurons", "most active neurons", "locality", "perplexity"],
                 [[o["operation"], percent(o["target"], 1), percent(o["paraphrases"], 1), percent(o["controls"], 1), percent(o["random"], 1),
                   percent(o["most_active"], 1), percent(o["locality"], 1),
                   f"{number(o['perplexity']['before'], 2)} → {number(o['perplexity']['after'], 2)}"] for o in n["operations"]]), ""]
    rows = []
    for f in n["facts"]:
        if not f["neurons"]:
            continue
        e = f["effects"]["suppress"] if "effects" in f and "suppress" in f["effects"] else f["effect"]
        rows.append([f["id"], ", ".join(f"{x['layer']}.{x['index']}" for x in f["neurons"]), percent(e["target"]), percent(e["paraphrases"]),
                     percent(e["same_relation"]), percent(e["random"])])
    out += ["Suppressed, fact by fact:", "",
            table(["fact", "neurons (layer.index)", "target", "paraphrases", "same relation", "random"], rows, left=2), ""]
    if without:
        out += [f"{len(without)} facts are left without a neuron of their own once hubs are taken out: {', '.join(without)}.", ""]
    hubs = n["hubs"][:12]
    out += [f"{len(n['hubs'])} neurons are found for other facts too (hubs) and belong to none; the most common:", "",
            table(["neuron", "facts", "of other relations", "of the same relation"],
                  [[f"{h['layer']}.{h['index']}", h["facts"], percent(h["unrelated"]), percent(h["same_relation"])] for h in hubs]), ""]
    return out


def lens_section():
    out = ["## Three lenses side by side", ""]
    results = {}
    for kind in ("tuned", "jacobian"):
        file = ROOT / "lenses" / f"{MODEL}-{kind}.json"
        if file.exists():
            results[kind] = json.loads(file.read_text())
    if not results:
        return out + ["No fitted lens is here yet; `make lenses` fits them.", ""]
    layers = {}
    for kind, r in results.items():
        for row in r["layers"]:
            layers.setdefault(row["layer"], {"logit": row["kl_logit_lens"]})[kind] = row["kl"]
    out += ["Mean KL(final ‖ lens) in nats on held-out text, by the block whose state is read; the fitted lenses as they are shipped (int8).", "",
            table(["layer", "logit lens", *results], [[l, number(v["logit"], 2), *(number(v.get(k), 2) for k in results)]
                                                      for l, v in sorted(layers.items())], left=0), ""]
    for kind, r in results.items():
        worse = [row["layer"] for row in r["layers"] if row["kl"] > row["kl_logit_lens"]]
        out += [f"The {kind} lens ({r.get('prompts') or r.get('tokens')} {'prompts' if kind == 'jacobian' else 'tokens'}) is worse than the "
                f"logit lens at layers: {', '.join(map(str, worse)) or 'none'}.", ""]
    return out


def main():
    RUNS.mkdir(parents=True, exist_ok=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# What the commands find in SmolLM2-135M-Instruct", "",
             "Made by `make findings`; every figure comes from a run of the commands named in `scripts/make_findings.py`. What did not work "
             "is left in.", ""]
    for section in (tasks_section, heads_section, weights_section, circuit_section, neurons_section, lens_section):
        lines += section()
    OUT.write_text("\n".join(lines).rstrip() + "\n")
    print(OUT.relative_to(ROOT))


main()
