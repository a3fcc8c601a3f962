"""Compares every golden site and gradient with TransformerLens' HookedTransformer in float64.

    python check_transformer_lens.py        # needs transformer-lens 2.x, which still has HookedTransformer

TransformerLens' unfolded LayerNorm hooks `hook_normalized` after gain and bias; the golden value, which is before them, is
taken through both before the comparison. `hook_attn_in` of TransformerLens repeats per query
head and cannot be combined with fewer key/value heads; it is compared on the other models.
"""

import importlib.metadata
import json
import pathlib

import numpy
import safetensors.torch
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

import make_golden
import reference_model as reference

HERE = pathlib.Path(__file__).resolve().parent


def lens_model(config, model, options):
    first = model.blocks[0]
    heads, width, head_width = first.W_Q.shape
    rotary = model.positions == "rotary"
    scaling = config.get("rope_parameters") or {}
    llama3 = {} if scaling.get("rope_type") != "llama3" else {
        "use_NTK_by_parts_rope": True, "NTK_by_parts_factor": scaling["factor"],
        "NTK_by_parts_low_freq_factor": scaling["low_freq_factor"], "NTK_original_ctx_len":
        scaling["original_max_position_embeddings"], "NTK_by_parts_high_freq_factor": scaling["high_freq_factor"]}
    theta = scaling.get("rope_theta") or config.get("rope_theta") or config.get("rotary_emb_base") or 10000
    attn_only = first.W_in is None
    groups = len(first.W_K)
    cfg = HookedTransformerConfig(
        n_layers=len(model.blocks), d_model=width, n_heads=heads, d_head=head_width, d_vocab=len(model.W_E),
        n_key_value_heads=groups if groups != heads else None, attn_only=attn_only,
        d_mlp=None if attn_only else first.W_in.shape[1], act_fn=None if attn_only else model.activation,
        gated_mlp=not attn_only and first.W_gate is not None, parallel_attn_mlp=model.parallel, eps=model.eps,
        n_ctx=len(model.W_pos) if model.W_pos is not None else 32, normalization_type=model.norm,
        positional_embedding_type=model.positions, rotary_base=int(theta), attn_scale=model.attn_scale,
        rotary_dim=2 * len(model.inverse_frequencies) if rotary else None, dtype=torch.float64, device="cpu",
        use_attn_result=True, use_hook_mlp_in=not attn_only, **llama3, **options)
    hooked = HookedTransformer(cfg)
    hooked.load_state_dict(canonical_state(model, hooked.state_dict()), strict=True)
    return hooked


def canonical_state(model, state):
    """`state` with its parameters replaced by the canonical weights and absent biases by zero; its buffers stay."""
    def weights_of(name):
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            return model.blocks[int(layer)], rest
        return model, name

    def value(name):
        owner, rest = weights_of(name)
        part, _, leaf = rest.partition(".")
        if part in ("ln1", "ln2", "ln_final"):
            return getattr(getattr(owner, part), leaf)
        leaf = leaf.lstrip("_")
        return getattr(owner, {("mlp", "b_in"): "b_in", ("mlp", "W_gate"): "W_gate"}.get((part, leaf), leaf), None)

    result = {}
    for name, old in state.items():
        if name.rpartition(".")[2] in ("mask", "IGNORE", "rotary_sin", "rotary_cos"):
            result[name] = old
        else:
            found = value(name)
            result[name] = torch.zeros_like(old) if found is None else found.detach().reshape(old.shape).clone()
    return result


def run(hooked, tokens, endings):
    """site (with one of `endings`) -> (value, gradient). ln1 is called for each of q, k and v: the gradients add up."""
    calls = {}

    def keep(activation, hook):
        activation.retain_grad()
        calls.setdefault(hook.name, []).append(activation)

    wanted = [(name, keep) for name in hooked.hook_dict if name.endswith(endings)]
    logits = hooked.run_with_hooks(tokens, fwd_hooks=wanted, return_type="logits")
    logits.retain_grad()
    calls["logits"] = [logits]
    reference.next_token_loss(logits, tokens).backward()
    return {name: (nodes[0].detach(), sum(node.grad for node in nodes)) for name, nodes in calls.items()}


def norm_after_gain(model, site, golden):
    """LayerNorm's golden hook_normalized as TransformerLens 2.x has it, and the factor between the gradients."""
    if model.norm != "LN" or not site.endswith("hook_normalized"):
        return golden, 1
    owner = model if site.startswith("ln_final") else model.blocks[int(site.split(".")[1])]
    norm = getattr(owner, site.split(".")[-2])
    return golden * norm.w + norm.b, norm.w


def compare_site(model, golden, site, activation, gradient):
    """(largest difference of values, largest difference of gradients over the largest gradient)."""
    expected = torch.from_numpy(golden[site]).double()
    assert activation.shape == expected.shape, (site, activation.shape, expected.shape)
    expected, factor = norm_after_gain(model, site, expected)
    hidden = expected == -torch.inf
    assert not hidden.any() or (activation[hidden] < -1e4).all(), site
    expected_gradient = torch.from_numpy(golden["grad." + site]).double()
    return ((activation - expected)[~hidden].abs().max().item(),
            ((gradient * factor - expected_gradient).abs().max() / expected_gradient.abs().max()).item())


def golden_without_mlp_bias(config, tensors, tokens):
    """TransformerLens' gated MLP has no bias before the activation: compare the model with those at zero."""
    for name, tensor in tensors.items():
        if ".mlp." in name and name.endswith("bias"):
            tensor.zero_()
    values, gradients, _, _ = make_golden.run_reference(config, tensors, tokens, torch.float64)
    return {**{name: value.numpy() for name, value in values.items()},
            **{"grad." + name: gradient.numpy() for name, gradient in gradients.items()}}


def check(name):
    folder = HERE / name
    config = json.loads((folder / "config.json").read_text())
    tensors = {key: tensor.double() for key, tensor in safetensors.torch.load_file(folder / "model.safetensors").items()}
    golden = numpy.load(folder / "golden.npz")
    tokens = torch.from_numpy(golden["tokens"]).long()
    if config.get("mlp_bias"):
        golden = golden_without_mlp_bias(config, tensors, tokens)
    model = reference.family_view(config, tensors)
    grouped = len(model.blocks[0].W_K) != len(model.blocks[0].W_Q)
    modes = [({}, ""), ({"use_split_qkv_input": True}, ("hook_q_input", "hook_k_input", "hook_v_input"))]
    if not grouped:
        modes.append(({"use_attn_in": True}, ("hook_attn_in",)))
    differences = {}
    for options, endings in modes:
        hooked = lens_model(config, model, options)
        for site, (activation, gradient) in run(hooked, tokens, endings).items():
            if site in golden:
                differences[site] = compare_site(model, golden, site, activation, gradient)
        for name, parameter in hooked.named_parameters():
            if "pgrad." + name in golden:
                expected = torch.from_numpy(golden["pgrad." + name])
                scale = expected.abs().max().clamp_min(1e-3)
                differences["pgrad." + name] = 0.0, ((parameter.grad - expected).abs().max() / scale).item()
    missing = {key for key in golden if "hook_" in key and not key.startswith("grad.")} - differences.keys()
    values, gradients = (max(pair[index] for pair in differences.values()) for index in range(2))
    assert values <= 1e-5 and gradients <= 1e-5, differences
    return {"compared": len(differences), "values": values, "gradients_relative": gradients, "not_compared": sorted(missing)}


def main():
    record_file = HERE / "golden.json"
    record = json.loads(record_file.read_text())
    record["versions"]["transformer_lens (check_transformer_lens.py)"] = importlib.metadata.version("transformer-lens")
    for folder in sorted(HERE.glob("*/golden.npz")):
        name = folder.parent.name
        record["models"][name]["TransformerLens, float64"] = check(name)
        print(name, record["models"][name]["TransformerLens, float64"])
    record_file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
