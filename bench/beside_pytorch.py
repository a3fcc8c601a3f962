"""The default model's shape in PyTorch (transformers, SDPA, fp32) beside model_bench, in turn, on the same threads.

    python bench/beside_pytorch.py build/bin/model_bench MODEL.gguf [--threads N] [--tokens 512]

Needs torch and transformers. The weights are random: the time does not depend on them. Prints ratios, PyTorch's time over ours.
"""
import argparse
import json
import subprocess
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("model")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--tokens", type=int, default=512)
parser.add_argument("--rounds", type=int, default=3)
args = parser.parse_args()

torch.set_num_threads(args.threads)
torch.manual_seed(0)
config = LlamaConfig(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                     vocab_size=49152, max_position_embeddings=8192, rope_theta=100000.0, tie_word_embeddings=True,
                     attn_implementation="sdpa")
model = LlamaForCausalLM(config).float().eval()
tokens = torch.randint(0, 49152, (1, args.tokens))


def forward():
    with torch.no_grad():
        model(tokens, use_cache=False)


def forward_backward():
    model.zero_grad(set_to_none=True)
    model(tokens, labels=tokens, use_cache=False).loss.backward()


def seconds(fn):
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


forward()
best = {"forward_s": 1e9, "forward_backward_s": 1e9}
ours = dict(best)
for _ in range(args.rounds):
    best["forward_s"] = min(best["forward_s"], *(seconds(forward) for _ in range(3)))
    best["forward_backward_s"] = min(best["forward_backward_s"], seconds(forward_backward))
    line = subprocess.run([args.program, args.model, "--threads", str(args.threads), "--tokens", str(args.tokens), "--json"],
                          check=True, capture_output=True, text=True).stdout
    result = json.loads(line)
    for key in ours:
        ours[key] = min(ours[key], result[key])
for key in ours:
    print(f"{key:20} PyTorch {best[key]:.3f} s, microtome {ours[key]:.3f} s, ratio {best[key] / ours[key]:.2f}")
