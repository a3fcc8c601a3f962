"""TransformerLens' activation patching (one forward pass of all prompts per cell, as its `patching` module does) beside sweep_bench,
in turn, on the same threads.

    python bench/beside_transformer_lens.py build/bin/sweep_bench MODEL.gguf [--threads N] [--cells 20]

Needs torch and transformer_lens with HookedTransformer. The weights are random and have the default model's shape: the time does not
depend on them. Every cell costs TransformerLens the same, so `--cells` of them are timed and their number is multiplied up; --cells 0
runs all. Prints ratios, TransformerLens' time over ours.
"""
import argparse
import json
import subprocess
import time

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("model")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--cells", type=int, default=20)
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.set_grad_enabled(False)
torch.manual_seed(0)
config = HookedTransformerConfig(n_layers=30, d_model=576, n_ctx=2048, d_head=64, n_heads=9, n_key_value_heads=3, d_mlp=1536,
                                 d_vocab=49152, act_fn="silu", gated_mlp=True, normalization_type="RMS",
                                 positional_embedding_type="rotary", rotary_dim=64, rotary_base=100000, final_rms=True)
model = HookedTransformer(config)


def loop(tokens: int, heads: bool):
    """Seconds for one pass over all cells: residual stream by layer and position, or heads by layer."""
    clean = torch.randint(0, 49152, (8, tokens))
    corrupted = torch.randint(0, 49152, (8, tokens))
    _, cache = model.run_with_cache(clean, names_filter=lambda n: n.endswith(("hook_resid_pre", "hook_z")))
    cells = [(l, i) for l in range(30) for i in range(9 if heads else tokens)]
    timed = cells if args.cells == 0 else cells[:: max(1, len(cells) // args.cells)]
    start = time.perf_counter()
    for layer, index in timed:
        name = f"blocks.{layer}.attn.hook_z" if heads else f"blocks.{layer}.hook_resid_pre"

        def patch(value, hook):
            if heads:
                value[:, :, index] = cache[name][:, :, index]
            else:
                value[:, index] = cache[name][:, index]
            return value

        logits = model.run_with_hooks(corrupted, fwd_hooks=[(name, patch)])
        (logits[:, -1, 0] - logits[:, -1, 1]).mean().item()
    return (time.perf_counter() - start) * len(cells) / len(timed)


line = subprocess.run([args.program, args.model, "--threads", str(args.threads), "--json"], check=True, capture_output=True, text=True)
for case in json.loads(line.stdout)["cases"]:
    theirs = loop(15 if "15" in case["case"] else 14, case["case"].startswith("z"))
    print(f"{case['case']:30} TransformerLens {theirs:8.1f} s, microtome {case['seconds']:7.2f} s, ratio {theirs / case['seconds']:.1f}")
