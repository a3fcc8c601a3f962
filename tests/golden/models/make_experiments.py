"""Makes smollm2_experiments.json: causal experiments on the default model, each beside its controls.

    python make_experiments.py SmolLM2-135M-Instruct.Q4_1.gguf     # needs what make_smollm2.py needs

Edits are written as requests to the server write them; logits are those of reference_model.py in double precision, after the
last token of the prompt.
"""

import json
import pathlib
import sys

import torch

import make_smollm2
import reference_model as reference

HERE = pathlib.Path(__file__).resolve().parent
PROMPT, OTHER = "The capital of {} is the city of", "France"
SUBJECT, CITY, LAST = 3, 6, 7  # positions of " Portugal", " city" and the last " of"
WATCHED = (" Lisbon", " Paris")


def zero(site, **where):
    return {"site": site, **where, "op": "zero"}


def patch(site, country=OTHER, **where):
    return {"site": site, **where, "op": "from", "value": PROMPT.format(country)}


def experiments():
    """name -> (what it shows, [edit, ...] of which each is run alone)."""
    def attention(layer, heads=None, pos=LAST, country=OTHER):
        where = {"pos": pos} if heads is None else {"pos": pos, "head": heads}
        return patch(f"blocks.{layer}.attn.hook_z", country, **where)

    def stream(layer, pos):
        return patch(f"blocks.{layer}.hook_resid_post", pos=pos)

    return {
        "zero_attention": ("Without layer 23's attention the model names a city, but of no country in particular; without the "
                           "layers beside it nothing changes.",
                           [zero(f"blocks.{layer}.hook_attn_out") for layer in (23, 22, 24)]),
        "zero_heads": ("Two heads of layer 23 are enough to lose Lisbon; two others of it are not.",
                       [zero("blocks.23.attn.hook_z", head=heads) for heads in ("4:6", "2:4", "6:8")]),
        "stream_at_the_country": ("The country's own position decides up to layer 22, and not from layer 23 on.",
                                  [stream(layer, SUBJECT) for layer in (0, 10, 22, 23, 29)]),
        "stream_at_the_end": ("The last position does not know the country up to layer 22; from layer 23 on it does.",
                              [stream(layer, LAST) for layer in (0, 10, 22, 23, 29)]),
        "stream_elsewhere": ("Control: the same patch at another position changes nothing.",
                             [stream(layer, pos) for layer in (10, 22) for pos in (4, 5, CITY)]),
        "attention_at_the_end": ("What layer 23's heads bring to the last position is the country; other layers' do not.",
                                 [attention(layer) for layer in (23, 22, 24)]),
        "two_heads_at_the_end": ("Heads 4 and 5 of layer 23 carry it; other pairs, layers and positions do not.",
                                 [attention(23, "4:6"), attention(23, "2:4"), attention(23, "6:8"), attention(22, "4:6"),
                                  attention(24, "4:6"), attention(23, "4:6", CITY), attention(23, 4), attention(23, 5)]),
        "other_countries": ("The same two heads with other countries, and all heads.",
                            [attention(23, heads, country=country) for country in ("Italy", "Japan", "Germany", "Spain")
                             for heads in ("4:6", None)]),
    }


class Edited:
    """Applies one edit at its site; `sources` holds the sites of each other prompt."""

    def __init__(self, edit, sources):
        self.edit, self.sources = edit, sources

    def __call__(self, name, activation):
        if name != self.edit["site"]:
            return activation
        pos, head = self.edit.get("pos"), self.edit.get("head")
        where = (slice(None), slice(None) if pos is None else pos, *(() if head is None else (as_slice(head),)))
        activation = activation.clone()
        activation[where] = 0 if self.edit["op"] == "zero" else self.sources[self.edit["value"]].values[name][where]
        return activation


def as_slice(head):
    return slice(*map(int, head.split(":"))) if isinstance(head, str) else head


def describe(tokenizer, logits):
    probabilities, top = logits.softmax(-1), logits.topk(5)

    def row(token):
        return {"id": token, "text": tokenizer.decode([token]), "logit": logits[token].item(), "p": probabilities[token].item()}

    return {"top": [row(token) for token in top.indices.tolist()],
            "watched": [row(tokenizer.encode(text).ids[0]) for text in WATCHED]}


@torch.no_grad()
def main(path):
    config, tensors, tokenizer = make_smollm2.load_gguf(path)
    model = reference.family_view(config, {name: tensor.double() for name, tensor in tensors.items()})

    def run(text, sites):
        return reference.forward(model, torch.tensor([tokenizer.encode(text).ids]), sites)[0, -1]

    sources, groups = {}, experiments()
    for edit in (edit for _, edits in groups.values() for edit in edits if edit["op"] == "from"):
        if edit["value"] not in sources:
            sources[edit["value"]] = reference.Sites()
            run(edit["value"], sources[edit["value"]])
    prompt = PROMPT.format("Portugal")
    result = {"prompt": prompt, "tokens": tokenizer.encode(prompt).ids,
              "plain": describe(tokenizer, run(prompt, reference.Sites())),
              "sources": {text: describe(tokenizer, run(text, reference.Sites())) for text in sources}, "experiments": {}}
    for name, (shows, edits) in groups.items():
        runs = [{"edit": edit, **describe(tokenizer, run(prompt, Edited(edit, sources)))} for edit in edits]
        result["experiments"][name] = {"shows": shows, "runs": runs}
        for found in runs:
            print(name, json.dumps(found["edit"]), [(r["text"], round(r["logit"], 3), round(r["p"], 3))
                                                    for r in found["top"][:2] + found["watched"]])
    (HERE / "smollm2_experiments.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
