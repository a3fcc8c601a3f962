"""Makes the corpus, the small tokenizers and the golden ids; see README.md for the files.

    python make_golden.py PROSE_FOLDER...                   # needs tokenizers 0.23, and .txt files under the folders
    python make_golden.py --smollm2 MODEL.gguf              # needs gguf too; reads corpus.jsonl

Every tokenizer here is the reference's; microtome's must give the same ids.
"""

import argparse
import json
import pathlib
import struct

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import corpus

HERE = pathlib.Path(__file__).resolve().parent
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
SAMPLE = 50  # every so many lines, the ids themselves are stored

split = lambda regex: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
digits = lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
special = lambda text, **flags: AddedToken(text, special=True, **{"normalized": False, **flags})
plain = lambda text, **flags: AddedToken(text, special=False, **flags)


def train(texts, vocab_size, pre_tokenizer, normalizer=None, added=()):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=["<|endoftext|>"],
                                                             initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.add_special_tokens([t for t in added if t.special])
    tokenizer.add_tokens([t for t in added if not t.special])
    return tokenizer


def edited(tokenizer, edit):
    """The tokenizer after `edit` of its JSON."""
    data = json.loads(tokenizer.to_str())
    edit(data)
    return Tokenizer.from_str(json.dumps(data))


def drop_some_merges(data):
    """Leaves whole words that only `ignore_merges` reaches."""
    data["model"]["ignore_merges"] = True
    data["model"]["merges"] = [m for i, m in enumerate(data["model"]["merges"]) if i < 400 or i % 7]


def merges_as_text(data):
    data["model"]["merges"] = [m if isinstance(m, str) else " ".join(m) for m in data["model"]["merges"]]


def make_tokenizers(texts):
    neox = [special("<|padding|>")] + [plain(" " * n, normalized=True) for n in range(24, 1, -1)]
    made = {
        "gpt2": edited(train(texts, 1200, pre_tokenizers.ByteLevel(add_prefix_space=False)), merges_as_text),
        "neox": train(texts, 1000, pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC(), neox),
        "starcoder": train(texts, 700, digits(), None, [special("<|im_start|>"), special("<|im_end|>")]),
        "llama3": edited(train(texts, 1200, split(LLAMA3), None, [special("<|im_end|>"), special("<|begin_of_text|>")]), drop_some_merges),
        "qwen2": train(texts, 700, split(QWEN2), normalizers.NFC(), [special("<|im_start|>"), special("<|im_end|>")]),
        "flags": train(texts, 500, pre_tokenizers.ByteLevel(add_prefix_space=True), None,
                       [special("<mask>", lstrip=True), special("<|pad|>", rstrip=True), plain("<sep>", lstrip=True, rstrip=True),
                        plain("the", single_word=True, normalized=True), plain("日本", single_word=True), special("<|im_end|>", normalized=True)]),
    }
    bos = made["llama3"].token_to_id("<|begin_of_text|>")
    made["llama3"].post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B", special_tokens=[("<|begin_of_text|>", bos)])])
    return made


def smollm2(path):
    import gguf
    fields = gguf.GGUFReader(path).fields
    tokens, types, merges = (fields["tokenizer.ggml." + k].contents() for k in ("tokens", "token_type", "merges"))
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = digits()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([special(t) for t, kind in zip(tokens, types) if kind == 3])
    return tokenizer


def hashed(ids):
    """FNV-1a, 32 bits, over the ids as little-endian int32."""
    value = 0x811C9DC5
    for byte in struct.pack("<%di" % len(ids), *ids):
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def store(name, tokenizer, texts):
    encoded = [e.ids for e in tokenizer.encode_batch(texts)]
    decoded = tokenizer.decode_batch(encoded, skip_special_tokens=False)
    (HERE / f"{name}.hashes").write_bytes(b"".join(struct.pack("<I", hashed(ids)) for ids in encoded))
    sample = {str(i): encoded[i] for i in range(0, len(texts), SAMPLE)}
    (HERE / f"{name}.ids.json").write_text(json.dumps(sample, separators=(",", ":")) + "\n")
    same = sum(a == b for a, b in zip(texts, decoded))
    print(f"{name}: {len(texts)} lines, {sum(map(len, encoded))} ids, {same} lines come back unchanged")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("prose", nargs="*")
    parser.add_argument("--smollm2")
    options = parser.parse_args()
    stored = HERE / "corpus.jsonl"
    if options.prose:
        texts = corpus.lines(options.prose)
        stored.write_text("".join(json.dumps(t, ensure_ascii=False) + "\n" for t in texts), encoding="utf-8")
        for name, tokenizer in make_tokenizers(texts).items():
            (HERE / f"{name}.tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False,
                                                                    separators=(",", ":")) + "\n", encoding="utf-8")
            store(name, tokenizer, texts)
    if options.smollm2:
        store("smollm2", smollm2(options.smollm2), [json.loads(line) for line in stored.open(encoding="utf-8", newline="\n")])


if __name__ == "__main__":
    main()
