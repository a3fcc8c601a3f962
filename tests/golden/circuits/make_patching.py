"""Makes patching.json: residual patching on the eight IOI prompts with TransformerLens, for the default model.

    python make_patching.py SmolLM2-135M-Instruct.Q4_1.gguf     # needs gguf, torch, tokenizers, transformer-lens 2.x

Denoising: one position of one layer's hook_resid_pre of the corrupted run is replaced by the clean run's; the metric is the
mean of logit(answer) - logit(wrong) at the end, normalised to 0 in the corrupted and 1 in the clean run. fp32.

To be done in minutes, a row starts at its layer from the corrupted run's stream (start_at_layer) and unembeds the end alone, and
positions before the first difference, exactly 0 by causality, are left out; both are checked against whole runs with hooks.
"""

import importlib.metadata
import json
import pathlib
import sys

import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "models"))
import check_transformer_lens  # noqa: E402
import make_smollm2  # noqa: E402
import reference_model as reference  # noqa: E402

# Template, the repeated name, the other one; the corrupted prompt of each is its neighbour (2k <-> 2k + 1).
TEMPLATES = [("When John and Mary went to the shops,{} gave the bag to", " John", " Mary"),
             ("When Tom and James went to the park,{} gave the ball to", " James", " Tom"),
             ("When Dan and Sid went to the shops,{} gave an apple to", " Sid", " Dan"),
             ("After Martin and Amy went to the park,{} gave a drink to", " Amy", " Martin")]
HEADS = [(0, 0), (17, 4), (20, 0), (23, 3), (24, 4), (29, 0), (29, 1)]


def prompts(tokenizer):
    clean, answers, wrong = [], [], []
    for template, name, other in TEMPLATES:
        for subject, answer in ((name, other), (other, name)):
            clean.append(tokenizer.encode(template.format(subject)).ids)
            answers.append(tokenizer.encode(answer).ids)
            wrong.append(tokenizer.encode(subject).ids)
    assert all(len(ids) == 1 for ids in answers + wrong) and len({len(ids) for ids in clean}) == 1
    return clean, [clean[i ^ 1] for i in range(len(clean))], [a[0] for a in answers], [w[0] for w in wrong]


def main(path):
    config, tensors, tokenizer = make_smollm2.load_gguf(path)
    model = reference.family_view(config, {name: tensor.double() for name, tensor in tensors.items()})
    hooked = check_transformer_lens.lens_model(config, model, {}).to(torch.float32)
    del model, tensors
    clean, corrupted, answers, wrong = prompts(tokenizer)
    clean_tokens, corrupted_tokens = torch.tensor(clean), torch.tensor(corrupted)
    rows = torch.arange(len(clean))
    answers_, wrong_ = torch.tensor(answers), torch.tensor(wrong)

    layers = hooked.cfg.n_layers

    def metric(logits):
        return (logits[rows, -1, answers_] - logits[rows, -1, wrong_]).double().mean().item()

    def normalised(value):
        return (value - m_corrupted) / (m_clean - m_corrupted)

    with torch.no_grad():
        def keep(name):
            return name.endswith(("hook_resid_pre", "hook_z"))
        logits, cache = hooked.run_with_cache(clean_tokens, names_filter=keep)
        logits_corrupted, cache_corrupted = hooked.run_with_cache(corrupted_tokens, names_filter=keep)
        m_clean, m_corrupted = metric(logits), metric(logits_corrupted)

        def whole(name, where):
            def replace(activation, hook):
                activation = activation.clone()
                activation[where] = cache[hook.name][where]
                return activation
            return normalised(metric(hooked.run_with_hooks(corrupted_tokens, fwd_hooks=[(name, replace)])))

        def from_layer(layer, position):
            name = f"blocks.{layer}.hook_resid_pre"
            stream = cache_corrupted[name].clone()
            stream[:, position] = cache[name][:, position]
            stream = hooked(stream, start_at_layer=layer, stop_at_layer=layers)
            return normalised(metric(hooked.unembed(hooked.ln_final(stream[:, -1:]))))

        first = min((clean_tokens != corrupted_tokens).nonzero()[:, 1]).item()
        length = clean_tokens.shape[1]
        checks = [(0, first - 1), (20, first), (24, length - 1)]
        errors = [abs(from_layer(*c) - whole(f"blocks.{c[0]}.hook_resid_pre", (slice(None), c[1]))) for c in checks]
        assert max(errors) < 1e-5 and abs(from_layer(*checks[0])) < 1e-5, errors
        resid = [[from_layer(layer, p) if p >= first else 0.0 for p in range(length)] for layer in range(layers)]
        heads = [{"layer": l, "head": h, "value": whole(f"blocks.{l}.attn.hook_z", (slice(None), slice(None), h))}
                 for l, h in HEADS]

    result = {"transformer_lens": importlib.metadata.version("transformer_lens"), "torch": torch.__version__,
              "clean_tokens": clean, "corrupted_tokens": corrupted, "answers": answers, "wrong": wrong,
              "largest_check": max(errors), "clean": m_clean, "corrupted": m_corrupted, "resid_pre": [[round(x, 9) for x in row] for row in resid],
              "z": [{**head, "value": round(head["value"], 9)} for head in heads]}
    (HERE / "patching.json").write_text(json.dumps(result, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
