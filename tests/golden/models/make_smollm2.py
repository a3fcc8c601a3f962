"""Makes smollm2.npz and smollm2.json: what the default model's dequantised weights give; see README.md for the keys.

    python make_smollm2.py SmolLM2-135M-Instruct.Q4_1.gguf     # needs gguf, torch, transformers, tokenizers, numpy

Values are those of reference_model.py in double precision; `transformers` (fp32, eager) is run beside it and the differences
are recorded, so that smollm2.json says how far apart two correct computations lie.
"""

import hashlib
import json
import pathlib
import sys

import gguf
import numpy
import tokenizers
import torch
import transformers

import reference_model as reference

HERE = pathlib.Path(__file__).resolve().parent
TOP_LENS, TOP_LOGITS, CONTINUATION = 10, 50, 40

CAPITAL = "The capital of Portugal is the city of"
# Lewis Carroll, Alice's Adventures in Wonderland (1865), its first paragraphs.
ALICE = ("Alice was beginning to get very tired of sitting by her sister on the bank, and of having nothing to do: once or "
         "twice she had peeped into the book her sister was reading, but it had no pictures or conversations in it, “and what "
         "is the use of a book,” thought Alice “without pictures or conversations?”\n\nSo she was considering in her own mind "
         "(as well as she could, for the hot day made her feel very sleepy and stupid), whether the pleasure of making a "
         "daisy-chain would be worth the trouble of getting up and picking the daisies, when suddenly a White Rabbit with pink "
         "eyes ran close by her.")
CHAT = ("<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
PROMPTS = {"capital": CAPITAL, "alice": ALICE, "chat": CHAT}


# ---- the file ---------------------------------------------------------------------------------------------------------

GGUF_NAMES = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
              "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
              "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def hf_name(name):
    top = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    if name in top:
        return top[name]
    _, layer, part, leaf = name.split(".")
    return f"model.layers.{layer}.{GGUF_NAMES[part]}.{leaf}"


def split_halves(matrix, heads):
    """llama.cpp stores each head's rotated rows as adjacent pairs; transformers as two halves."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def load_gguf(path):
    """(config as transformers writes it, float32 tensors under transformers' names, tokenizer)."""
    reader = gguf.GGUFReader(path)

    def field(name):
        return reader.fields[name].contents()

    heads, groups = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    config = {"model_type": "llama", "hidden_act": "silu", "hidden_size": field("llama.embedding_length"),
              "intermediate_size": field("llama.feed_forward_length"), "num_hidden_layers": field("llama.block_count"),
              "num_attention_heads": heads, "num_key_value_heads": groups, "vocab_size": field("llama.vocab_size"),
              "max_position_embeddings": field("llama.context_length"), "tie_word_embeddings": True,
              "rms_norm_eps": field("llama.attention.layer_norm_rms_epsilon"),
              "rope_parameters": {"rope_type": "default", "rope_theta": field("llama.rope.freq_base")}}
    tensors = {}
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        if ".attn_q." in tensor.name or ".attn_k." in tensor.name:
            values = split_halves(values, heads if ".attn_q." in tensor.name else groups)
        tensors[hf_name(tensor.name)] = torch.from_numpy(numpy.ascontiguousarray(values))
    return config, tensors, make_tokenizer(field)


def make_tokenizer(field):
    pieces, types = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in field("tokenizer.ggml.merges")]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE({piece: index for index, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([
        tokenizers.pre_tokenizers.Digits(individual_digits=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([piece for piece, kind in zip(pieces, types) if kind == gguf.TokenType.CONTROL])
    return tokenizer


def hf_model(config, tensors):
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**config, attn_implementation="eager"))
    model = model.to_empty(device="cpu")
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert missing in ([], ["lm_head.weight"]) and not unexpected, (missing, unexpected)
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    return model.eval()


# ---- the values -------------------------------------------------------------------------------------------------------


def lens(model, values):
    """The final norm and the output matrix on the stream before every layer and at the end -> log-probabilities [L+1, T, V]."""
    last = len(model.blocks) - 1
    points = [f"blocks.{layer}.hook_resid_pre" for layer in range(last + 1)] + [f"blocks.{last}.hook_resid_post"]
    streams = torch.stack([values[point][0] for point in points])
    silent = lambda _, activation: activation
    logits = torch.stack([reference.normalize(model, model.ln_final, stream[None], "", silent)[0] @ model.W_U
                          for stream in streams])
    return streams, torch.log_softmax(logits, dim=-1)


def lens_arrays(model, values):
    streams, log_probabilities = lens(model, values)
    final = log_probabilities[-1]
    top = log_probabilities.topk(TOP_LENS, dim=-1)
    answer = final.argmax(-1)
    return {"lens.top_ids": top.indices.int(), "lens.top_logprobs": top.values.float(),
            "lens.final_logprob": log_probabilities.gather(-1, answer.expand(len(streams), -1)[..., None])[..., 0],
            "lens.entropy": -(log_probabilities.exp() * log_probabilities).sum(-1),
            "lens.kl_to_final": (final.exp() * (final - log_probabilities)).sum(-1),
            "lens.residual_norm": streams.norm(dim=-1)}


def next_logprobs(logits, tokens):
    return torch.log_softmax(logits[0, :-1].double(), dim=-1).gather(-1, tokens[0, 1:, None])[:, 0]


@torch.no_grad()
def values_of(model, hf, ids):
    """({key: array} in double precision, {what: difference of transformers in fp32})."""
    tokens = torch.tensor([ids])
    sites = reference.Sites()
    logits = reference.forward(model, tokens, sites)
    output = hf(tokens, output_hidden_states=True, use_cache=False)
    last = logits[0, -1]
    top = last.topk(TOP_LOGITS)
    arrays = {"tokens": tokens[0].int(), "logprobs": next_logprobs(logits, tokens), "logits_top_ids": top.indices.int(),
              "logits_top": top.values, **lens_arrays(model, sites.values)}
    largest = max(value.abs().max().item() for name, value in sites.values.items() if "resid" in name)
    streams = [(output.hidden_states[layer], sites.values[f"blocks.{layer}.hook_resid_pre"])
               for layer in range(len(model.blocks))]
    report = {"tokens": len(ids), "largest_residual": largest,
              "residual_fp32_vs_fp64": max((a.double() - b).abs().max().item() for a, b in streams),
              "logits_fp32_vs_fp64": (output.logits.double() - logits).abs().max().item(),
              "logprobs_fp32_vs_fp64": (next_logprobs(output.logits, tokens) - arrays["logprobs"]).abs().max().item(),
              "mean_loss": -arrays["logprobs"].mean().item()}
    assert report["logits_fp32_vs_fp64"] < 1e-3, report
    return arrays, last, report


@torch.no_grad()
def greedy(hf, ids, count):
    """Greedy tokens, never stopping, and the smallest lead of the first token over the second, in fp32."""
    cache, step, result, margin = None, torch.tensor([ids]), [], float("inf")
    for _ in range(count):
        output = hf(step, past_key_values=cache, use_cache=True)
        cache, best = output.past_key_values, output.logits[0, -1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        result.append(best.indices[0].item())
        step = best.indices[:1][None]
    return result, margin


def main(path):
    config, tensors, tokenizer = load_gguf(path)
    hf = hf_model(config, tensors)
    model = reference.family_view(config, {name: tensor.double() for name, tensor in tensors.items()})
    arrays = {}
    record = {"sha256": hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest(), "config": config, "prompts": {},
              "versions": {package.__name__: package.__version__ for package in (torch, transformers, tokenizers, numpy)}}
    for name, text in PROMPTS.items():
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        found, last, report = values_of(model, hf, ids)
        if name == "capital":
            found["logits"] = last
        continuation, report["greedy_smallest_margin"] = greedy(hf, ids, CONTINUATION)
        found["greedy"] = torch.tensor(continuation, dtype=torch.int32)
        for key, value in found.items():
            keep = value if key == "logprobs" or not value.is_floating_point() else value.float()
            arrays[f"{name}.{key}"] = keep.numpy()
        report.update(text=text, continuation=tokenizer.decode(continuation, skip_special_tokens=False),
                      lens_top1=[tokenizer.id_to_token(i).replace("Ġ", " ") for i in found["lens.top_ids"][:, -1, 0].tolist()])
        record["prompts"][name] = report
        print(name, json.dumps(report, ensure_ascii=False, indent=1))
    numpy.savez_compressed(HERE / "smollm2.npz", **arrays)
    (HERE / "smollm2.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
