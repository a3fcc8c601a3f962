"""Makes the small random checkpoints and their golden values; see README.md for the keys.

    python make_golden.py [NAME ...]        # default: all; needs torch, transformers, safetensors, numpy

Every value is checked before it is stored: the transparent model of reference_model.py against `transformers`
(fp32, eager attention) on logits, hidden states, attention patterns and parameter gradients.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import numpy
import safetensors.torch
import torch
import transformers

import reference_model as reference

HERE = pathlib.Path(__file__).resolve().parent
BATCH, LENGTH = 2, 11

LLAMA_COMMON = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 32,
                "num_attention_heads": 4, "num_key_value_heads": 2, "attention_dropout": 0.0, "initializer_range": 0.02,
                "bos_token_id": 1, "eos_token_id": 2, "use_cache": True, "pretraining_tp": 1}
LLAMA3_SCALING = {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                  "original_max_position_embeddings": 64}
NEOX_COMMON = {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "hidden_act": "gelu", "hidden_size": 32,
               "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 96,
               "max_position_embeddings": 64, "layer_norm_eps": 3e-4, "tie_word_embeddings": False, "bos_token_id": 0,
               "eos_token_id": 0, "initializer_range": 0.02, "use_cache": True, "attention_bias": True}
NEOX_OLDER = {"rotary_pct": 0.25, "rotary_emb_base": 10000, "torch_dtype": "float32", "transformers_version": "4.24.0"}
NEWER = {"dtype": "float32", "transformers_version": transformers.__version__}
NEOX_NEWER = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}, **NEWER}
ATTN_ONLY = {"model_type": "attn_only", "n_layers": 2, "d_model": 32, "n_heads": 4, "n_kv_heads": 4, "d_head": 8,
             "vocab": 96, "context": 32}


def hf_models():
    """name -> (config as stored, {other file: the same configuration as other versions write it})."""
    tied = {**LLAMA_COMMON, "intermediate_size": 80, "num_hidden_layers": 3, "vocab_size": 96, "rms_norm_eps": 1e-3,
            "max_position_embeddings": 64, "tie_word_embeddings": True}
    tied_older = {**tied, "rope_theta": 1000.0, "rope_scaling": None, "torch_dtype": "float32",
                  "transformers_version": "4.42.3"}
    tied_newer = {**tied, "head_dim": 8, "attention_bias": False, "mlp_bias": False,
                  "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}, **NEWER}
    scaled = {**LLAMA_COMMON, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 100, "rms_norm_eps": 2e-4,
              "max_position_embeddings": 256, "tie_word_embeddings": False, "head_dim": 16, "attention_bias": True,
              "mlp_bias": True}
    scaled_newer = {**scaled, "rope_parameters": {**LLAMA3_SCALING, "rope_theta": 10000.0}, **NEWER}
    scaled_older = {**scaled, "rope_theta": 10000.0, "rope_scaling": LLAMA3_SCALING, "torch_dtype": "float32",
                    "transformers_version": "4.45.0"}
    gpt2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "activation_function": "gelu_new", "n_embd": 32,
            "n_head": 4, "n_layer": 2, "n_positions": 48, "vocab_size": 96, "layer_norm_epsilon": 2e-4, "attn_pdrop": 0.1,
            "embd_pdrop": 0.1, "resid_pdrop": 0.1, "initializer_range": 0.02, "bos_token_id": 95, "eos_token_id": 95}
    gpt2_older = {**gpt2, "n_ctx": 48}
    gpt2_newer = {**gpt2, "n_inner": None, "reorder_and_upcast_attn": False, "scale_attn_by_inverse_layer_idx": False,
                  "scale_attn_weights": True, "tie_word_embeddings": True, "add_cross_attention": False, "use_cache": True,
                  **NEWER}
    models = {"llama_gqa_tied": (tied_older, {"config.newer.json": tied_newer}),
              "llama3_scaled_bias": (scaled_newer, {"config.older.json": scaled_older}),
              "gpt2": (gpt2_older, {"config.newer.json": gpt2_newer})}
    for name, parallel in (("neox_parallel", True), ("neox_serial", False)):
        older, newer = ({**NEOX_COMMON, "use_parallel_residual": parallel, **style} for style in (NEOX_OLDER, NEOX_NEWER))
        models[name] = ((older, {"config.newer.json": newer}) if parallel else (newer, {"config.older.json": older}))
    return models


def attn_only_models():
    variants = {"attn_only_ln": {"normalization": "LN", "eps": 2e-4, "positions": "standard"},
                "attn_only_shortformer": {"normalization": "LNPre", "eps": 1e-3, "positions": "shortformer", "attn_scale": 3.0},
                "attn_only_rotary": {"normalization": None, "eps": 1e-5, "positions": "rotary"}}
    return {name: {**ATTN_ONLY, **variant} for name, variant in variants.items()}


# ---- random checkpoints -----------------------------------------------------------------------------------------------


def attn_only_shapes(config):
    d, h, k, v = (config[key] for key in ("d_model", "n_heads", "d_head", "vocab"))
    shapes = {"embed.W_E": (v, d), "unembed.W_U": (d, v), "unembed.b_U": (v,)}
    if config["positions"] != "rotary":
        shapes["pos_embed.W_pos"] = (config["context"], d)
    norms = [f"blocks.{layer}.ln1" for layer in range(config["n_layers"])] + ["ln_final"]
    if config["normalization"] == "LN":
        shapes.update({f"{norm}.{part}": (d,) for norm in norms for part in "wb"})
    for layer in range(config["n_layers"]):
        for letter in "QKV":
            shapes[f"blocks.{layer}.attn.W_{letter}"] = (h, d, k)
            shapes[f"blocks.{layer}.attn.b_{letter}"] = (h, k)
        shapes[f"blocks.{layer}.attn.W_O"] = (h, k, d)
        shapes[f"blocks.{layer}.attn.b_O"] = (d,)
    return shapes


def hf_shapes(config):
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**config))
    return {checkpoint_name(config, name): tuple(parameter.shape) for name, parameter in model.named_parameters()}


def checkpoint_name(config, name):
    """transformers 5 calls GPT-NeoX' output matrix lm_head in memory and embed_out, as ever, in files."""
    return name.replace("lm_head", "embed_out") if config["model_type"] == "gpt_neox" else name


def random_tensor(name, shape, generator):
    """Scales that keep activations near 1 and leave no gain at 1 and no bias at 0."""
    noise = torch.randn(shape, generator=generator)
    is_gain = len(shape) == 1 and not name.endswith("bias") and ".b" not in name
    if is_gain:
        return 1 + 0.3 * noise
    if len(shape) == 1 or ".b_" in name:
        return 0.3 * noise
    if "emb" in name and "unembed" not in name or "wte" in name or "wpe" in name:
        return 0.4 * noise
    return noise / fan_in(name, shape) ** 0.5


def fan_in(name, shape):
    """torch.nn.Linear stores [out, in], GPT-2's Conv1D and TransformerLens [in, out], W_O [heads, K, D]."""
    if name.endswith("W_O"):
        return shape[0] * shape[1]
    return shape[-2] if name.startswith("transformer.") or "W_" in name else shape[-1]


def state_dict_buffers(config):
    """What a TransformerLens state dict holds besides parameters; readers must pass over it."""
    context = config["context"]
    angles = torch.arange(context)[:, None] * 10000.0 ** -(torch.arange(config["d_head"]) % (config["d_head"] // 2)
                                                           * 2 / config["d_head"])
    one = {"mask": torch.ones(context, context, dtype=torch.bool).tril(), "IGNORE": torch.tensor(-torch.inf),
           "rotary_sin": angles.sin(), "rotary_cos": angles.cos()}
    return {f"blocks.{layer}.attn.{name}": value.clone() for layer in range(config["n_layers"]) for name, value in one.items()}


def make_checkpoint(folder, config, others, seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = attn_only_shapes(config) if config["model_type"] == "attn_only" else hf_shapes(config)
    tensors = {name: random_tensor(name, shape, generator) for name, shape in sorted(shapes.items())}
    folder.mkdir(exist_ok=True)
    for file, content in {"config.json": config, **others}.items():
        (folder / file).write_text(json.dumps(content, indent=1) + "\n")
    buffers = state_dict_buffers(config) if config.get("positions") == "rotary" else {}
    safetensors.torch.save_file({**tensors, **buffers}, folder / "model.safetensors", metadata={"format": "pt"})
    return tensors


# ---- golden values ----------------------------------------------------------------------------------------------------


def run_reference(config, tensors, tokens, dtype):
    """(sites with gradients, loss, parameter gradients), each a dict of tensors in `dtype`."""
    values, gradients = {}, {}
    own = {"joint": None, "split": ("hook_q_input", "hook_k_input", "hook_v_input"), "attn_in": ("hook_attn_in",)}
    for inputs, endings in own.items():
        params = {name: tensor.to(dtype).requires_grad_() for name, tensor in tensors.items()}
        sites = reference.Sites()
        logits = reference.forward(reference.family_view(config, params), tokens, sites, inputs)
        loss = reference.next_token_loss(logits, tokens)
        loss.backward()
        for name, activation in sites.values.items():
            if endings is None or name.endswith(endings):
                values[name], gradients[name] = activation.detach(), activation.grad
        if inputs == "joint":
            result = loss.detach(), {name: parameter.grad for name, parameter in params.items()}
    return values, gradients, *result


def run_transformers(folder, config, tokens):
    """The oracle's logits, loss, hidden states, patterns and parameter gradients for one way of writing the config."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copy(folder / "model.safetensors", copy)
        (pathlib.Path(copy) / "config.json").write_text(json.dumps(config))
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            copy, attn_implementation="eager", dtype=torch.float32, output_loading_info=True)
    problems = {key: value for key, value in info.items() if value}
    assert not problems, problems
    model.eval()
    output = model(tokens, output_hidden_states=True, output_attentions=True, use_cache=False)
    loss = reference.next_token_loss(output.logits, tokens)
    loss.backward()
    gradients = {checkpoint_name(config, name): parameter.grad for name, parameter in model.named_parameters()}
    return output, loss.detach(), gradients


def worst(pairs, relative=False):
    """Largest difference over pairs (found, expected); relative to each expected tensor's largest value."""
    differences = [0.0]
    for found, expected in pairs:
        scale = expected.abs().max().clamp_min(1e-6) if relative else 1
        differences.append(((found.double() - expected.double()).abs().max() / scale).item())
    return max(differences)


def compare(folder, config, tokens, truth, single):
    """Asserts that transformers agrees with both precisions of the reference; returns its output and the differences."""
    values, _, loss, gradients = truth
    output, hf_loss, hf_gradients = run_transformers(folder, config, tokens)
    assert hf_gradients.keys() == gradients.keys(), hf_gradients.keys() ^ gradients.keys()
    layers = len(output.attentions)
    streams = [(output.hidden_states[layer], f"blocks.{layer}.hook_resid_pre") for layer in range(layers)]
    streams += [(output.hidden_states[-1], "unembed.hook_in")]
    streams += [(output.attentions[layer], f"blocks.{layer}.attn.hook_pattern") for layer in range(layers)]
    report = {"logits_vs_float64": worst([(output.logits, values["logits"])]),
              "logits_vs_float32": worst([(output.logits, single[0]["logits"])]),
              "hidden_states_and_patterns_vs_float64": worst([(hf, values[name]) for hf, name in streams]),
              "loss_vs_float64": worst([(hf_loss, loss)]),
              "parameter_gradients_relative": worst([(hf_gradients[n], g) for n, g in gradients.items()], relative=True)}
    assert all(difference <= 1e-5 for difference in report.values()), report
    return (output.logits.detach(), hf_gradients), report


def store(folder, name, tokens, truth, oracle):
    """`oracle`: (logits, parameter gradients) of transformers in fp32, or None: the float64 reference's."""
    values, gradients, loss, parameter_gradients = truth
    arrays = {"tokens": tokens.int().numpy(), "loss": numpy.float64(loss)}
    arrays.update({site: value.float().numpy() for site, value in values.items()})
    arrays.update({f"grad.{site}": gradient.float().numpy() for site, gradient in gradients.items()})
    if oracle:
        arrays["logits"] = arrays["unembed.hook_out"] = oracle[0].numpy()
        parameter_gradients = oracle[1]
    arrays.update({f"pgrad.{tensor}": g.float().numpy() for tensor, g in parameter_gradients.items()})
    finite = {key: value for key, value in arrays.items() if not key.endswith("attn.hook_attn_scores") or key.startswith("grad")}
    assert all(numpy.isfinite(value).all() for value in finite.values())
    numpy.savez_compressed(folder / "golden.npz", **arrays)
    largest = {site: float(value.abs().max()) for site, value in values.items() if site.endswith(("resid_post", "logits"))}
    return {"loss": float(loss), "keys": len(arrays), "largest": largest}


def make_model(index, name, config, others):
    folder = HERE / name
    tensors = make_checkpoint(folder, config, others, seed=1000 + index)
    vocabulary = config.get("vocab_size") or config["vocab"]
    tokens = torch.randint(vocabulary, (BATCH, LENGTH), generator=torch.Generator().manual_seed(2000 + index))
    truth = run_reference(config, tensors, tokens, torch.float64)
    single = run_reference(config, tensors, tokens, torch.float32)
    report = {"float32_vs_float64": {
        "sites": worst([(single[0][s].nan_to_num(neginf=0), v.nan_to_num(neginf=0)) for s, v in truth[0].items()]),
        "gradients_relative": worst([(single[1][s], g) for s, g in truth[1].items()], relative=True)}}
    oracle = None
    if config["model_type"] == "attn_only":
        report["logits_pgrad_from"] = report["sites_from"] = "reference_model.py, float64"
    else:
        report["logits_pgrad_from"] = "transformers, fp32, eager"
        report["sites_from"] = "reference_model.py, float64, checked against transformers"
        for file, content in {"config.json": config, **others}.items():
            oracle, report[f"transformers with {file}"] = compare(folder, content, tokens, truth, single)
    report.update(store(folder, name, tokens, truth, oracle))
    return report


def make_gpt2_hub():
    """The same GPT-2 as the model hub's files have it: names without `transformer.` and with the causal mask's buffers."""
    folder = HERE / "gpt2_hub"
    folder.mkdir(exist_ok=True)
    shutil.copy(HERE / "gpt2" / "config.json", folder)
    config = json.loads((folder / "config.json").read_text())
    tensors = safetensors.torch.load_file(HERE / "gpt2" / "model.safetensors")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    size = config["n_positions"]
    for layer in range(config["n_layer"]):
        tensors[f"h.{layer}.attn.bias"] = torch.ones(size, size).tril().view(1, 1, size, size)
    safetensors.torch.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def main(wanted):
    models = {**hf_models(), **{name: (config, {}) for name, config in attn_only_models().items()}}
    record_file = HERE / "golden.json"
    record = json.loads(record_file.read_text()) if record_file.exists() else {"models": {}}
    record["versions"] = {package.__name__: package.__version__ for package in (torch, transformers, numpy)}
    for index, (name, (config, others)) in enumerate(models.items()):
        if not wanted or name in wanted:
            record["models"][name] = make_model(index, name, config, others)
            print(name, json.dumps(record["models"][name]))
    if (HERE / "gpt2").exists():
        make_gpt2_hub()
    record_file.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
