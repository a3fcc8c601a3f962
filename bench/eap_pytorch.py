"""Edge attribution patching, straightforwardly, in PyTorch (fp32), beside eap_bench, in turn, on the same threads.

    python bench/eap_pytorch.py build/bin/eap_bench MODEL.gguf [--threads N] [--prompts 8] [--tokens 14]

Needs torch, gguf, tokenizers, transformers. The model is the transparent one of tests/golden/models/reference_model.py with an
input of its own for every head, which is what public implementations (TransformerLens with split inputs) run: a corrupted and a
clean forward keep every source, a third, clean, is differentiated; each receiver's gradient is contracted with all differences of
earlier sources in one einsum. Prints the ratio of times, and of peak memory above the loaded weights. The prompts are random
tokens that differ at one place, as long as eap_bench's: the time of this version does not depend on them.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

import torch

parser = argparse.ArgumentParser()
parser.add_argument("program")
parser.add_argument("model")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--prompts", type=int, default=8)
parser.add_argument("--tokens", type=int, default=14)
parser.add_argument("--rounds", type=int, default=3)
args = parser.parse_args()

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/golden/models"))
import make_smollm2  # noqa: E402
import reference_model as reference  # noqa: E402

torch.set_num_threads(args.threads)
torch.manual_seed(0)
config, tensors, _ = make_smollm2.load_gguf(args.model)
model = reference.family_view(config, {name: tensor.float() for name, tensor in tensors.items()})
del tensors
layers, heads = len(model.blocks), model.blocks[0].W_Q.shape[0]
clean = torch.randint(0, 49152, (args.prompts, args.tokens))
corrupted = clean.clone()
corrupted[:, args.tokens // 2] = torch.randint(0, 49152, (args.prompts,))


class Sources:
    """Keeps what every source writes, [B, T, sources, D]."""

    def __init__(self):
        self.parts = []

    def __call__(self, name, activation):
        if name == "blocks.0.hook_resid_pre" or name.endswith("hook_mlp_out"):
            self.parts.append(activation[:, :, None])
        elif name.endswith("hook_result"):
            self.parts.append(activation)
        return activation


class Receivers:
    """Contracts the gradient at every receiver with the differences of all earlier sources, as it comes."""

    def __init__(self, differences):
        self.differences, self.scores = differences, {}

    def __call__(self, name, activation):
        if name == "blocks.0.hook_resid_pre":
            return activation.requires_grad_()
        if name.endswith("_input") or name.endswith("hook_mlp_in") or name == f"blocks.{layers - 1}.hook_resid_post":
            layer = int(name.split(".")[1])
            n = 1 + layer * (heads + 1)
            n += heads if name.endswith("hook_mlp_in") else heads + 1 if name.endswith("hook_resid_post") else 0

            def contract(gradient):
                gradient = gradient if gradient.dim() == 4 else gradient[:, :, None]
                self.scores[name] = torch.einsum("btsd,btrd->sr", self.differences[:, :, :n], gradient)

            activation.register_hook(contract)
        return activation


def eap():
    with torch.no_grad():
        kept = []
        for tokens in (corrupted, clean):
            sources = Sources()
            reference.forward(model, tokens, sources, inputs="split")
            kept.append(torch.cat(sources.parts, dim=2))
        differences = kept[0] - kept[1]
    receivers = Receivers(differences)
    logits = reference.forward(model, clean, receivers, inputs="split")
    (logits[:, -1, 1000] - logits[:, -1, 2000]).sum().backward()
    return receivers.scores


def status_mb(field):
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
loaded = status_mb("VmRSS")
torch_s, ours = 1e9, {"eap_s": 1e9, "mb_above_weights": 0}
scores = eap()
assert sum(s.numel() for s in scores.values()) == 70651 or layers != 30
for _ in range(args.rounds):
    start = time.perf_counter()
    eap()
    torch_s = min(torch_s, time.perf_counter() - start)
    line = subprocess.run([args.program, args.model, "--threads", str(args.threads), "--prompts", str(args.prompts), "--json"],
                          check=True, capture_output=True, text=True).stdout
    result = json.loads(line)
    ours = {"eap_s": min(ours["eap_s"], result["eap_s"]), "mb_above_weights": result["mb_above_weights"]}
memory = status_mb("VmHWM") - loaded
print(f"eap     PyTorch {torch_s:.3f} s, microtome {ours['eap_s']:.3f} s, ratio {torch_s / ours['eap_s']:.2f}")
print(f"memory  PyTorch {memory:.0f} MB, microtome {ours['mb_above_weights']:.0f} MB above the weights, "
      f"ratio {memory / ours['mb_above_weights']:.2f}")
