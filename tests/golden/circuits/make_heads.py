"""Makes heads.npz: head detector scores of TransformerLens for the default model.

    python make_heads.py SmolLM2-135M-Instruct.Q4_1.gguf     # needs gguf, torch, tokenizers, numpy, transformer-lens 2.x

Keys: `alice.tokens`, `repeated.tokens` int32 [T] (a paragraph; 40 random tokens said twice); for each text, of previous, duplicate
and induction, float32 [layers, heads]: TEXT.DETECTOR.mul, .mul_exclude (exclude_bos and exclude_current_token), .abs,
.abs_exclude, as transformer_lens.head_detector computes them from the patterns of HookedTransformer in fp32; and
repeated.DETECTOR.stripe (previous, duplicate), means of diagonals. `abs` there is rounded to three decimals.
"""

import pathlib
import sys

import numpy
import torch
from transformer_lens import head_detector

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "models"))
import check_transformer_lens  # noqa: E402
import make_smollm2  # noqa: E402
import reference_model as reference  # noqa: E402

BLOCK, CONTEXT = 40, 256
TARGETS = {"previous": head_detector.get_previous_token_head_detection_pattern,
           "duplicate": head_detector.get_duplicate_token_head_detection_pattern,
           "induction": head_detector.get_induction_head_detection_pattern}
OFFSETS = {"previous": -1, "duplicate": -BLOCK}


def scores(pattern, target, measure, exclude):
    """[layers, heads]; the detector may write into the pattern it is given."""
    return torch.tensor([[head_detector.compute_head_attention_similarity_score(
        head.clone(), detection_pattern=target, exclude_bos=exclude, exclude_current_token=exclude, error_measure=measure)
        for head in layer] for layer in pattern])


def main(path):
    config, tensors, tokenizer = make_smollm2.load_gguf(path)
    model = reference.family_view(config, {name: tensor.double() for name, tensor in tensors.items()})
    own = check_transformer_lens.HookedTransformerConfig
    check_transformer_lens.HookedTransformerConfig = lambda **fields: own(**{**fields, "n_ctx": CONTEXT})
    hooked = check_transformer_lens.lens_model(config, model, {}).to(torch.float32)
    del model, tensors
    block = torch.randint(100, 20000, (BLOCK,), generator=torch.Generator().manual_seed(0))
    texts = {"alice": torch.tensor([tokenizer.encode(make_smollm2.ALICE).ids]), "repeated": torch.cat([block, block])[None]}
    out = {}
    for name, tokens in texts.items():
        out[f"{name}.tokens"] = tokens[0].int().numpy()
        with torch.no_grad():
            _, cache = hooked.run_with_cache(tokens, names_filter=lambda site: site.endswith("hook_pattern"))
        pattern = torch.stack([cache[f"blocks.{layer}.attn.hook_pattern"][0] for layer in range(hooked.cfg.n_layers)])
        for detector, target in TARGETS.items():
            for measure in ("mul", "abs"):
                for exclude in (False, True):
                    key = f"{name}.{detector}.{measure}{'_exclude' if exclude else ''}"
                    out[key] = scores(pattern, target(tokens), measure, exclude).float().numpy()
            if name == "repeated" and detector in OFFSETS:
                out[f"{name}.{detector}.stripe"] = pattern.diagonal(OFFSETS[detector], dim1=-2, dim2=-1).mean(-1).float().numpy()
    numpy.savez_compressed(HERE / "heads.npz", **out)


if __name__ == "__main__":
    main(sys.argv[1])
