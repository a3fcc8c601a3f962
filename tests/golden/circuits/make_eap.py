"""Makes eap.json: edge attribution patching of small golden models, by autograd on the transparent model in double.

    python make_eap.py          # needs torch, safetensors

For each model: `clean`, `corrupted` token ids, `answer`, `wrong` (metric: difference of their logits at the last position), and
for methods `eap` and `eap-ig` (inputs, midpoint rule, 5 nodes) `edges`: {"from->to": score} of every edge. Every receiver has a
stream of its own (a leaf that autograd sees), every source is read where it writes; the contraction is one einsum an edge. The
gap of eap-ig and the clean and corrupted metric are stored too.
"""

import json
import pathlib
import sys

import safetensors.torch
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "models"))
import reference_model as reference  # noqa: E402

MODELS = ["llama_gqa_tied", "gpt2", "neox_parallel", "attn_only_shortformer"]
CLEAN, CORRUPTED = [[5, 17, 40, 3, 22, 9, 31]], [[5, 17, 29, 3, 60, 9, 31]]
ANSWER, WRONG = 12, 45


def load(name):
    folder = HERE.parent / "models" / name
    config = json.loads((folder / "config.json").read_text())
    params = {key: value.double() for key, value in safetensors.torch.load_file(folder / "model.safetensors").items()}
    return reference.family_view(config, params)


class Input(reference.Sites):
    """Replaces block 0's input where one is given, and makes it a leaf, so that gradients are asked for from there on."""

    def __init__(self, start=None):
        super().__init__()
        self.start = start

    def __call__(self, name, activation):
        if name == "blocks.0.hook_resid_pre":
            activation = (activation if self.start is None else self.start).detach().clone().requires_grad_()
        return super().__call__(name, activation)


def run(model, tokens, start=None):
    sites = Input(start)
    logits = reference.forward(model, torch.tensor(tokens), sites, inputs="split")
    metric = logits[0, -1, ANSWER] - logits[0, -1, WRONG]
    metric.backward()
    return metric.item(), sites.values


def sources(model, values):
    """Name -> output [B, T, D], in the order in which they write."""
    out = {"input": values["blocks.0.hook_resid_pre"]}
    for layer, block in enumerate(model.blocks):
        result = values[f"blocks.{layer}.attn.hook_result"]
        out.update({f"a{layer}.h{h}": result[:, :, h] for h in range(result.shape[2])})
        if block.W_in is not None:
            out[f"m{layer}"] = values[f"blocks.{layer}.hook_mlp_out"]
    return {name: value.detach() for name, value in out.items()}


def receivers(model, values):
    """(name, gradient [B, T, D], layer, after this layer's heads)."""
    last = len(model.blocks) - 1
    for layer, block in enumerate(model.blocks):
        for letter in "qkv":
            gradient = values[f"blocks.{layer}.hook_{letter}_input"].grad
            for h in range(gradient.shape[2]):
                yield f"a{layer}.h{h}<{letter}>", gradient[:, :, h], layer, False
        if block.W_in is not None:
            yield f"m{layer}", values[f"blocks.{layer}.hook_mlp_in"].grad, layer, not model.parallel
    yield "logits", values[f"blocks.{last}.hook_resid_post"].grad, last + 1, True


def before(source, layer, after_heads):
    if source == "input":
        return True
    own = int(source[1:].split(".")[0])
    return own < layer or (own == layer and after_heads and source[0] == "a")


def scores(model, differences, runs):
    """Gradients averaged over runs, then one dot product an edge."""
    gradients = {}
    for values in runs:
        for name, gradient, layer, after in receivers(model, values):
            total = gradients.get(name, (0,))[0] + gradient / len(runs)
            gradients[name] = (total, layer, after)
    return {f"{source}->{name}": torch.einsum("btd,btd->", difference, gradient).item()
            for name, (gradient, layer, after) in gradients.items()
            for source, difference in differences.items() if before(source, layer, after)}


def main():
    out = {}
    for name in MODELS:
        model = load(name)
        clean_metric, clean = run(model, CLEAN)
        corrupted_metric, corrupted = run(model, CORRUPTED)
        z, a = sources(model, clean), sources(model, corrupted)
        differences = {source: a[source] - z[source] for source in z}
        between = [run(model, CLEAN, a["input"] + (k + 0.5) / 5 * (z["input"] - a["input"]))[1] for k in range(5)]
        integrated = scores(model, differences, between)
        found = sum(score for edge, score in integrated.items() if edge.startswith("input->"))
        wanted = corrupted_metric - clean_metric
        out[name] = {"clean": CLEAN[0], "corrupted": CORRUPTED[0], "answer": ANSWER, "wrong": WRONG,
                     "clean_metric": clean_metric, "corrupted_metric": corrupted_metric, "gap": abs(found - wanted) / abs(wanted),
                     "eap": scores(model, differences, [clean]), "eap-ig": integrated}
        print(name, len(integrated), "edges, gap", out[name]["gap"])
    text = json.dumps(out, indent=0)
    (HERE / "eap.json").write_text(text + "\n")


main()
