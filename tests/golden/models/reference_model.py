"""A transparent transformer in PyTorch: every TransformerLens site is a node of the graph.

    sites = Sites()
    logits = forward(family_view(config, params), tokens, sites)      # tokens int64 [B, T]
    next_token_loss(logits, tokens).backward()
    sites.values["blocks.0.attn.hook_q"].grad                          # [B, T, H, K]

`family_view` turns a checkpoint's tensors (autograd leaves under the checkpoint's names) into one canonical set of
weights, so gradients arrive in the checkpoint's own layout. The precision is that of the tensors given.
Letters: B batch, T position, D model width, H query heads, G key/value heads, K head width, M MLP width, V vocabulary.
"""

import math
from types import SimpleNamespace as Record

import torch


class Sites:
    """Keeps each named activation and asks autograd to keep its gradient."""

    def __init__(self):
        self.values = {}

    def __call__(self, name, activation):
        if activation.requires_grad:
            activation.retain_grad()
        self.values[name] = activation
        return activation


def next_token_loss(logits, tokens):
    """Mean cross-entropy over the B (T - 1) predicted tokens."""
    log_probabilities = torch.log_softmax(logits[:, :-1], dim=-1)
    return -log_probabilities.gather(-1, tokens[:, 1:, None]).mean()


# ---- checkpoints to canonical weights: W_Q [H, D, K], W_K and W_V [G, D, K], W_O [H, K, D] ----------------------------


def read_heads(matrix, heads):
    """[heads * K, D] as torch.nn.Linear stores it -> [heads, D, K]."""
    return matrix.view(heads, -1, matrix.shape[1]).transpose(1, 2)


def norm(params, name):
    return Record(w=params.get(name + ".weight"), b=params.get(name + ".bias"))


def llama_rope(config, head_width):
    """Inverse frequencies, with Llama 3's scaling: wavelengths beyond original/low_freq_factor are stretched by `factor`,
    those under original/high_freq_factor are kept, and in between the two are blended."""
    rope = config.get("rope_parameters") or {**(config.get("rope_scaling") or {}), "rope_theta": config["rope_theta"]}
    inverse = rope["rope_theta"] ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    if rope.get("rope_type", "default") == "llama3":
        turns = rope["original_max_position_embeddings"] * inverse / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        keep = ((turns - low) / (high - low)).clamp(0, 1)
        inverse = keep * inverse + (1 - keep) * inverse / rope["factor"]
    return inverse


def llama_view(config, params):
    heads = config["num_attention_heads"]
    groups = config["num_key_value_heads"]
    width = config["hidden_size"]
    head_width = config.get("head_dim") or width // heads
    blocks = []
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."

        def bias(name, shape):
            stored = params.get(prefix + name + ".bias")
            return None if stored is None else stored.view(shape)

        def weight(name):
            return params[prefix + name + ".weight"]

        blocks.append(Record(
            ln1=norm(params, prefix + "input_layernorm"), ln2=norm(params, prefix + "post_attention_layernorm"),
            W_Q=read_heads(weight("self_attn.q_proj"), heads), b_Q=bias("self_attn.q_proj", (heads, head_width)),
            W_K=read_heads(weight("self_attn.k_proj"), groups), b_K=bias("self_attn.k_proj", (groups, head_width)),
            W_V=read_heads(weight("self_attn.v_proj"), groups), b_V=bias("self_attn.v_proj", (groups, head_width)),
            W_O=weight("self_attn.o_proj").T.view(heads, head_width, width), b_O=bias("self_attn.o_proj", (width,)),
            W_gate=weight("mlp.gate_proj").T, b_gate=bias("mlp.gate_proj", (-1,)),
            W_in=weight("mlp.up_proj").T, b_in=bias("mlp.up_proj", (-1,)),
            W_out=weight("mlp.down_proj").T, b_out=bias("mlp.down_proj", (width,))))
    embedding = params["model.embed_tokens.weight"]
    unembed = embedding if config["tie_word_embeddings"] else params["lm_head.weight"]
    return Record(norm="RMS", eps=config["rms_norm_eps"], activation="silu", parallel=False, positions="rotary",
                  inverse_frequencies=llama_rope(config, head_width), attn_scale=math.sqrt(head_width), W_E=embedding,
                  W_pos=None, blocks=blocks, ln_final=norm(params, "model.norm"), W_U=unembed.T, b_U=None)


def gpt2_view(config, params):
    heads, width = config["n_head"], config["n_embd"]
    blocks = []
    for layer in range(config["n_layer"]):
        prefix = f"transformer.h.{layer}."
        joint = params[prefix + "attn.c_attn.weight"].view(width, 3, heads, -1)
        joint_bias = params[prefix + "attn.c_attn.bias"].view(3, heads, -1)
        W_Q, W_K, W_V = (joint[:, part].transpose(0, 1) for part in range(3))
        blocks.append(Record(
            ln1=norm(params, prefix + "ln_1"), ln2=norm(params, prefix + "ln_2"), W_Q=W_Q, W_K=W_K, W_V=W_V,
            b_Q=joint_bias[0], b_K=joint_bias[1], b_V=joint_bias[2],
            W_O=params[prefix + "attn.c_proj.weight"].view(heads, -1, width), b_O=params[prefix + "attn.c_proj.bias"],
            W_gate=None, W_in=params[prefix + "mlp.c_fc.weight"], b_in=params[prefix + "mlp.c_fc.bias"],
            W_out=params[prefix + "mlp.c_proj.weight"], b_out=params[prefix + "mlp.c_proj.bias"]))
    embedding = params["transformer.wte.weight"]
    return Record(norm="LN", eps=config["layer_norm_epsilon"], activation="gelu_new", parallel=False, positions="standard",
                  attn_scale=math.sqrt(width // heads), W_E=embedding, W_pos=params["transformer.wpe.weight"], blocks=blocks,
                  ln_final=norm(params, "transformer.ln_f"), W_U=embedding.T, b_U=None)


def neox_view(config, params):
    heads, width = config["num_attention_heads"], config["hidden_size"]
    head_width = width // heads
    rope = config.get("rope_parameters") or {"rope_theta": config["rotary_emb_base"],
                                             "partial_rotary_factor": config["rotary_pct"]}
    rotary = int(head_width * rope["partial_rotary_factor"])
    inverse = rope["rope_theta"] ** -(torch.arange(0, rotary, 2, dtype=torch.float64) / rotary)
    blocks = []
    for layer in range(config["num_hidden_layers"]):
        prefix = f"gpt_neox.layers.{layer}."
        joint = params[prefix + "attention.query_key_value.weight"].view(heads, 3, head_width, width)
        joint_bias = params[prefix + "attention.query_key_value.bias"].view(heads, 3, head_width)
        W_Q, W_K, W_V = (joint[:, part].transpose(1, 2) for part in range(3))
        blocks.append(Record(
            ln1=norm(params, prefix + "input_layernorm"), ln2=norm(params, prefix + "post_attention_layernorm"),
            W_Q=W_Q, W_K=W_K, W_V=W_V, b_Q=joint_bias[:, 0], b_K=joint_bias[:, 1], b_V=joint_bias[:, 2],
            W_O=params[prefix + "attention.dense.weight"].T.view(heads, head_width, width),
            b_O=params[prefix + "attention.dense.bias"], W_gate=None,
            W_in=params[prefix + "mlp.dense_h_to_4h.weight"].T, b_in=params[prefix + "mlp.dense_h_to_4h.bias"],
            W_out=params[prefix + "mlp.dense_4h_to_h.weight"].T, b_out=params[prefix + "mlp.dense_4h_to_h.bias"]))
    return Record(norm="LN", eps=config["layer_norm_eps"], activation="gelu", parallel=config["use_parallel_residual"],
                  positions="rotary", inverse_frequencies=inverse, attn_scale=math.sqrt(head_width),
                  W_E=params["gpt_neox.embed_in.weight"], W_pos=None, blocks=blocks,
                  ln_final=norm(params, "gpt_neox.final_layer_norm"), W_U=params["embed_out.weight"].T, b_U=None)


def attn_only_view(config, params):
    def lens_norm(name):
        return Record(w=params.get(name + ".w"), b=params.get(name + ".b"))

    blocks = []
    for layer in range(config["n_layers"]):
        prefix = f"blocks.{layer}."
        attention = {name: params[f"{prefix}attn.{name}"]
                     for name in ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V", "b_O")}
        blocks.append(Record(ln1=lens_norm(prefix + "ln1"), W_in=None, **attention))
    head_width = config["d_head"]
    inverse = 10000.0 ** -(torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    return Record(norm=config["normalization"], eps=config["eps"], parallel=False, positions=config["positions"],
                  inverse_frequencies=inverse, attn_scale=config.get("attn_scale") or math.sqrt(head_width),
                  W_E=params["embed.W_E"], W_pos=params.get("pos_embed.W_pos"), blocks=blocks,
                  ln_final=lens_norm("ln_final"), W_U=params["unembed.W_U"], b_U=params["unembed.b_U"])


VIEWS = {"llama": llama_view, "gpt2": gpt2_view, "gpt_neox": neox_view, "attn_only": attn_only_view}


def family_view(config, params):
    return VIEWS[config["model_type"]](config, params)


# ---- the forward pass -------------------------------------------------------------------------------------------------


def normalize(model, weights, residual, name, sites):
    """hook_scale and hook_normalized are nodes: normalized = centred / scale, before gain and bias."""
    if model.norm is None:
        return residual
    centred = residual if model.norm == "RMS" else residual - residual.mean(-1, keepdim=True)
    scale = sites(name + ".hook_scale", (centred.square().mean(-1, keepdim=True) + model.eps).sqrt())
    normalized = sites(name + ".hook_normalized", centred / scale)
    if weights.w is None:
        return normalized
    return normalized * weights.w if weights.b is None else normalized * weights.w + weights.b


def add(activation, bias):
    return activation if bias is None else activation + bias


def rotate(activation, inverse_frequencies):
    """Half-split RoPE over the first 2 len(inverse_frequencies) components of [B, T, heads, K]."""
    half = len(inverse_frequencies)
    angles = torch.arange(activation.shape[1], dtype=torch.float64)[:, None] * inverse_frequencies
    cos, sin = (f(angles).to(activation.dtype)[:, None] for f in (torch.cos, torch.sin))
    first, second, rest = activation[..., :half], activation[..., half:2 * half], activation[..., 2 * half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)


def project(activation, weight, bias):
    """activation [B, T, D], or [B, T, heads, D] when each head has its own input; weight [heads, D, K]."""
    equation = "btd,hdk->bthk" if activation.dim() == 3 else "bthd,hdk->bthk"
    return add(torch.einsum(equation, activation, weight), bias)


def by_head(activation, heads):
    return activation[:, :, None].expand(-1, -1, heads, -1).clone()


def attention_inputs(model, block, residual, positions, name, sites, inputs):
    """q, k, v. `inputs` "joint": one normalised stream feeds all; "split": hook_q_input, hook_k_input and hook_v_input are
    own nodes for each head; "attn_in": each query head has one copy of the stream for its q and for the k and v it sees."""
    heads, groups = block.W_Q.shape[0], block.W_K.shape[0]
    key_weights = (block.W_K, block.b_K, block.W_V, block.b_V)
    if inputs == "joint":
        streams = [residual]
    elif inputs == "split":
        streams = [sites(name + f"hook_{letter}_input", by_head(residual, heads if letter == "q" else groups))
                   for letter in "qkv"]
    else:
        streams = [sites(name + "hook_attn_in", by_head(residual, heads))]
        key_weights = [w.repeat_interleave(heads // groups, dim=0) if w is not None else None for w in key_weights]
    silent = sites if inputs == "joint" else (lambda _, activation: activation)
    normed = [normalize(model, block.ln1, stream, name + "ln1", silent) for stream in streams]
    query_in, key_in, value_in = normed if len(normed) == 3 else normed * 3
    if model.positions == "shortformer":
        shaped = positions if query_in.dim() == 3 else positions[:, :, None]
        query_in = silent(name + "attn.hook_attn_input", query_in + shaped)
        key_in = query_in if len(normed) == 1 else key_in + shaped
    W_K, b_K, W_V, b_V = key_weights
    return project(query_in, block.W_Q, block.b_Q), project(key_in, W_K, b_K), project(value_in, W_V, b_V)


def attend(model, block, residual, positions, name, sites, inputs):
    q, k, v = attention_inputs(model, block, residual, positions, name, sites, inputs)
    q, k, v = (sites(name + f"attn.hook_{letter}", x) for letter, x in zip("qkv", (q, k, v)))
    if model.positions == "rotary":
        q = sites(name + "attn.hook_rot_q", rotate(q, model.inverse_frequencies))
        k = sites(name + "attn.hook_rot_k", rotate(k, model.inverse_frequencies))
    share = q.shape[2] // k.shape[2]
    k, v = (x.repeat_interleave(share, dim=2) for x in (k, v))
    scores = torch.einsum("bqhk,bjhk->bhqj", q, k) / model.attn_scale
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    scores = sites(name + "attn.hook_attn_scores", scores.masked_fill(future, -math.inf))
    pattern = sites(name + "attn.hook_pattern", torch.softmax(scores, dim=-1))
    z = sites(name + "attn.hook_z", torch.einsum("bhqj,bjhk->bqhk", pattern, v))
    result = sites(name + "attn.hook_result", torch.einsum("bqhk,hkd->bqhd", z, block.W_O))
    return sites(name + "hook_attn_out", add(result.sum(2), block.b_O))


ACTIVATIONS = {
    "silu": torch.nn.functional.silu,
    "gelu": torch.nn.functional.gelu,
    "gelu_new": lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
}


def mlp(model, block, residual, name, sites):
    mlp_in = sites(name + "hook_mlp_in", residual.clone())
    normed = normalize(model, block.ln2, mlp_in, name + "ln2", sites)
    act = ACTIVATIONS[model.activation]
    if block.W_gate is None:
        post = act(sites(name + "mlp.hook_pre", add(normed @ block.W_in, block.b_in)))
    else:
        gate = sites(name + "mlp.hook_pre", add(normed @ block.W_gate, block.b_gate))
        post = act(gate) * sites(name + "mlp.hook_pre_linear", add(normed @ block.W_in, block.b_in))
    post = sites(name + "mlp.hook_post", post)
    return sites(name + "hook_mlp_out", add(post @ block.W_out, block.b_out))


def forward(model, tokens, sites, inputs="joint"):
    """Logits [B, T, V]; every site on the way goes through `sites(name, activation)`."""
    residual = sites("hook_embed", model.W_E[tokens])
    positions = None
    if model.W_pos is not None:
        positions = sites("hook_pos_embed", model.W_pos[:tokens.shape[1]].expand(tokens.shape[0], -1, -1).clone())
        if model.positions == "standard":
            residual = residual + positions
    for layer, block in enumerate(model.blocks):
        name = f"blocks.{layer}."
        residual = sites(name + "hook_resid_pre", residual)
        attn_out = attend(model, block, residual, positions, name, sites, inputs)
        if block.W_in is None:
            residual = residual + attn_out
        elif model.parallel:
            residual = residual + attn_out + mlp(model, block, residual, name, sites)
        else:
            residual = sites(name + "hook_resid_mid", residual + attn_out)
            residual = residual + mlp(model, block, residual, name, sites)
        residual = sites(name + "hook_resid_post", residual)
    final = sites("unembed.hook_in", normalize(model, model.ln_final, residual, "ln_final", sites).clone())
    return sites("logits", sites("unembed.hook_out", add(final @ model.W_U, model.b_U)))
