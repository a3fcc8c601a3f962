"""The estimator of `microtome train lens --kind jacobian` in plain PyTorch, for bench/jacobian_bench.cc to be compared with.

    python bench/jacobian_pytorch.py [--threads 2] [--copies 8]

One forward of 128 tokens, copied `copies` times in a batch, whose graph is kept; each backward takes one one-hot cotangent a
copy, at all positions after the first 16 and without the last. The default model's shape with random weights: the time does not
depend on them. Prints seconds for each output, the forward left out. Needs torch and transformers.
"""
import argparse
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--copies", type=int, default=8)
parser.add_argument("--outputs", type=int, default=32)
args = parser.parse_args()
torch.set_num_threads(args.threads)

config = LlamaConfig(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
                     vocab_size=49152, max_position_embeddings=8192, rope_theta=100000.0, tie_word_embeddings=True,
                     attn_implementation="sdpa")
model = LlamaForCausalLM(config).float().eval()
model.requires_grad_(False)
d_model = config.hidden_size
torch.manual_seed(1)
prompt = torch.randint(config.vocab_size, (1, 128)).expand(args.copies, -1)
used = slice(16, 127)

streams = []
for index, layer in enumerate(model.model.layers):

    def keep(module, inputs, output, index=index):
        hidden = output[0] if isinstance(output, tuple) else output
        if index == 0:  # nothing below needs a gradient
            hidden = hidden.detach().requires_grad_(True)
        streams.append(hidden)
        return (hidden,) + tuple(output[1:]) if isinstance(output, tuple) else hidden

    layer.register_forward_hook(keep)
model.model(prompt, use_cache=False)
final, sources = streams[-1], streams[:-1]

jacobian = torch.zeros(len(sources), d_model, d_model, dtype=torch.float64)


def rows(first):
    cotangent = torch.zeros_like(final)
    for copy in range(args.copies):
        cotangent[copy, used, first + copy] = 1
    gradients = torch.autograd.grad(final, sources, cotangent, retain_graph=True)
    for layer, gradient in enumerate(gradients):
        jacobian[layer, first : first + args.copies] += gradient[:, used].double().sum(1) / 111


rows(0)
wall, processor = time.perf_counter(), time.process_time()
for first in range(0, args.outputs, args.copies):
    rows(first)
wall, processor = time.perf_counter() - wall, time.process_time() - processor
print(f"threads                      {args.threads}")
print(f"wall_s_per_output            {wall / args.outputs:.4g}")
print(f"processor_s_per_output       {processor / args.outputs:.4g}")
