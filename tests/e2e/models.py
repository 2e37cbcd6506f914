#!/usr/bin/env python3
"""One end-to-end case about models that say two things, or hold what cannot be quantized: models.py CASE SAGEPTQ SOURCE WORK.

Exit 0 passed, 77 skipped, anything else failed. The models of tests/data/small are a block of 8 wide each; perplexities were taken with
transformers 5.24 in double precision.
"""
import json
import os
import shutil
import struct
import sys

from program import case, sageptq, source, work

small = source / "tests/data/small"
SCORE = ["--text", small / "text.txt", "--protocol", "gptq-64", "--windows", 4]


def model(name, folder=None, **changes):
    """A copy of a small model with keys of config.json changed; None removes one."""
    folder = work / (folder or name)
    shutil.copytree(small / name, folder)
    shutil.copy(small / "tokenizer.json", folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(changes)
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    return folder


def perplexity(folder, *options):
    out = sageptq("eval", "--model", folder, *SCORE, "--format", "json", *options)
    return json.loads(out.stdout)["perplexity"], out.stderr


def near(found, expected, tolerance=1e-4):
    assert abs(found - expected) <= tolerance * expected, (found, expected)


def tensors(folder):
    """name: (dtype, shape, bytes) of a safetensors file."""
    raw = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    return {n: (t["dtype"], t["shape"], raw[8 + length + t["data_offsets"][0] : 8 + length + t["data_offsets"][1]]) for n, t in header.items()}


def write_tensors(folder, content):
    header, at = {}, 0
    for name, (dtype, shape, data) in content.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(d for *_, d in content.values()))


def own_head():
    """The head of the file counts where it differs from the embedding, in the model, packed and exported."""
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    folder = model("own_head")
    value, said = perplexity(folder)
    near(value, 3377.068)
    assert head in said and embedding in said and "tie_word_embeddings" in said, said
    sageptq("run", "rtn", "--model", folder, "--set", "quantizer.bits=8", "--until", "quantize", "-o", "packed")
    sageptq("export", "packed", "--dequantized", "--dtype", "F32", "-o", "exported")
    packed, exported = perplexity("packed")[0], perplexity("exported")
    assert packed == exported[0] and "tie_word" not in exported[1], (packed, exported)
    near(packed, 3377.068, 0.05)
    assert json.loads((work / "exported/config.json").read_text())["tie_word_embeddings"] is False
    # An older packed directory, whose flag says otherwise.
    config = json.loads((work / "packed/config.json").read_text())
    (work / "packed/config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    assert perplexity("packed")[0] == packed
    # A head equal to the embedding, and none: the flag counts, with the same numbers.
    tied = model("own_head", "equal")
    content = tensors(tied)
    write_tensors(tied, {**content, head: content[embedding]})
    equal, said = perplexity(tied)
    assert "though tie_word_embeddings" not in said and head in said, said
    content.pop(head)
    write_tensors(tied, content)
    absent, said = perplexity(tied)
    assert equal == absent and head not in said, (equal, absent, said)
    near(absent, 2740.775)
    flagless = model("own_head", "flagless", tie_word_embeddings=False)
    write_tensors(flagless, content)
    assert "tie_word_embeddings is false" in sageptq("eval", "--model", flagless, *SCORE, expect=3).stderr


def rope():
    """Both spellings in one file: agreeing, disagreeing, and with a kind that is not supported."""
    def of(name, **keys):
        return perplexity(model("dead_layer", name, rope_theta=None, **keys))
    llama3 = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}
    kinds = {"default": {}, "linear": {"factor": 4.0}, "llama3": llama3}
    alone = {kind: of(f"{kind}-alone", rope_parameters={"rope_type": kind, "rope_theta": 50.0, **more})[0] for kind, more in kinds.items()}
    assert len(set(alone.values())) == 3, alone
    for kind, more in kinds.items():
        both = {"rope_type": kind, "rope_theta": 50.0, **more}
        value, said = of(f"{kind}-both", rope_parameters=both, rope_scaling=both)
        assert value == alone[kind] and "rope" not in said, (kind, value, said)
        for other, that in kinds.items():
            if other == kind:
                continue
            value, said = of(f"{kind}-{other}", rope_scaling=both, rope_parameters={"rope_type": other, "rope_theta": 50.0, **that})
            assert value == alone[kind], (kind, other, value)
            assert "rope_scaling" in said and "rope_parameters" in said and "disagree" in said, said
    for key in ("rope_scaling", "rope_parameters"):
        other = "rope_parameters" if key == "rope_scaling" else "rope_scaling"
        keys = {key: {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32}, other: {"rope_type": "default", "rope_theta": 50.0}}
        refused = sageptq("eval", "--model", model("dead_layer", f"yarn-{key}", **keys), *SCORE, expect=3)
        assert f"{key}.rope_type: found 'yarn'" in refused.stderr, refused.stderr


def export_dtype():
    """An export holds what the model held; a dtype that cannot is refused, or its losses are counted."""
    name = "model.layers.0.mlp.up_proj.weight"
    folder = model("overflow")
    near(perplexity(folder)[0], 1818.15)
    sageptq("run", "rtn", "--model", folder, "--until", "quantize", "-o", "packed")
    packed = perplexity("packed")[0]
    sageptq("export", "packed", "--dequantized", "-o", "hf")
    assert {t[0] for t in tensors(work / "hf").values()} == {"BF16"}
    assert json.loads((work / "hf/config.json").read_text())["torch_dtype"] == "bfloat16"
    near(perplexity("hf")[0], packed, 0.02)  # BF16 has 8 bits
    refused = sageptq("export", "packed", "--dequantized", "--dtype", "F16", "-o", "half", expect=2).stderr
    assert name in refused and "1 of the numbers" in refused and "--dtype BF16" in refused and "--dtype F32" in refused, refused
    assert not list(work.glob("half*")), "a refused export left something behind"
    sageptq("export", "packed", "--dequantized", "--dtype", "F32", "-o", "single")
    assert {t[0] for t in tensors(work / "single").values()} == {"F32"}
    assert json.loads((work / "single/config.json").read_text())["torch_dtype"] == "float32"
    assert perplexity("single")[0] == packed
    # The other end: BF16 reaches further down than FP16.
    tiny = model("overflow", "tiny")
    content = tensors(tiny)
    dtype, shape, data = content[name]
    values = [struct.unpack("<f", b"\0\0" + data[i : i + 2])[0] for i in range(0, len(data), 2)]
    small_values = [v * 2.0**-40 for v in values[:-1]] + [0.5]
    write_tensors(tiny, {**content, name: (dtype, shape, b"".join(struct.pack("<f", v)[2:] for v in small_values))})
    sageptq("run", "rtn", "--model", tiny, "--until", "quantize", "--set", "include=['*q_proj*']", "-o", "tiny-packed")
    assert "became zero" not in sageptq("export", "tiny-packed", "--dequantized", "-o", "tiny-hf").stderr
    said = sageptq("export", "tiny-packed", "--dequantized", "--dtype", "F16", "-o", "tiny-half").stderr
    lost = sum(1 for v in small_values if 0 < abs(v) < 2**-25)
    assert lost > 10 and f"{lost} numbers of 1 tensors (first {name})" in said and "became zero" in said, (lost, said)


def dead_layer():
    """A layer whose inputs are all zero in calibration is quantized without compensation, and named once."""
    folder = model("dead_layer")
    name = "model.layers.0.mlp.down_proj.weight"
    calibration = ["--set", f"calibration.dataset={small}/calibration.txt", "--set", "calibration.samples=4", "--set", "calibration.length_tokens=64"]
    compensated = ["--set", "compensator=gptq", "--set", "block_columns=8", "--set", "segment_weights=original", "--set", "dead_columns=zero"]
    for method, options in (("gptq", []), ("billm_released", []), ("billm_paper", []), ("pb_llm_rowwise", []), ("pb_llm_g128", []),
                            ("sage_paper", compensated), ("sage_honest", compensated)):
        out = sageptq("run", method, "--model", folder, "--until", "quantize", *calibration, *options, "-o", f"out-{method}")
        assert out.stderr.count("all zero in calibration") == 1 and f"{name}: its inputs" in out.stderr, (method, out.stderr)
        perplexity(f"out-{method}")
    out = sageptq("matrix", "--input", small / "matrices/gram_zero.h5", "--gram", "/H", "--method", "gptq", "--format", "json")
    assert "all zero" in out.stderr and json.loads(out.stdout)["choices"]["hessian.dead_columns"] == 16, out


def messages():
    """The cause is named, and the exit code is never that of an internal error."""
    at = small / "matrices"

    def says(expect, *arguments):
        return sageptq("matrix", "--input", *arguments, expect=expect).stderr
    assert "entry (3, 3) of the Gram is NaN" in says(3, at / "gram_nan.h5", "--gram", "/H", "--method", "gptq")
    for method in ("billm_released", "billm_paper"):
        assert "weight (2, 5) is 1e+30" in says(3, at / "weight_1e30.h5", "--gram", "/H", "--method", method)
    for method in ("rtn", "sage_paper"):
        said = says(0, at / "weight_1e30.h5", "--method", method)
        assert "weight_1e30.h5" in said and "FP16's largest" in said, said
        assert "FP16" not in says(0, at / "plain.h5", "--method", method)
    assert "weight (" in says(3, at / "weight_nan.h5", "--method", "rtn")
    plain = says(2, at / "plain.h5", "--method", "gptq")
    assert "--gram" in plain, plain
    listed = says(2, at / "one.safetensors", "--method", "rtn")
    names = list(tensors_of(at / "one.safetensors"))
    assert names and all(n in listed for n in names), (names, listed)


def tensors_of(path):
    raw = path.read_bytes()
    return [n for n, t in json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]]).items() if n != "__metadata__" and len(t["shape"]) == 2]


def denied_tensors():
    """What config.json says is not there, and the file holds."""
    folder = model("dead_layer")
    content = tensors(folder)
    dtype, _, q = content["model.layers.0.self_attn.q_proj.weight"]
    extra = {"model.layers.0.self_attn.q_proj.bias": (dtype, [8], q[:16]), "model.layers.1.self_attn.q_proj.weight": (dtype, [8, 8], q[:128]),
             "model.layers.0.self_attn.rotary_emb.inv_freq": (dtype, [2], q[:4])}
    before, said = perplexity(folder)
    assert "not part of the model" not in said, said
    write_tensors(folder, {**content, **extra})
    value, said = perplexity(folder)
    assert value == before, (value, before)
    assert "2 of its tensors" in said and "q_proj.bias" in said and "layers.1.self_attn.q_proj.weight" in said and "inv_freq" not in said, said
    sweep = work / "sweep.yaml"
    sweep.write_text("name: s\neval: []\nsweep: {list: [{name: rtn, extends: rtn}]}\n")
    for command in (["run", "rtn", "--until", "quantize", "-o", "out"], ["run", "rtn", *SCORE], ["sweep", sweep, "-o", "s"], ["eval", *SCORE]):
        refused = sageptq(*command, "--model", folder, "--strict", expect=3)
        assert "q_proj.bias" in refused.stderr and "--strict" in refused.stderr, refused.stderr
    # One that looks like a plane of a packed matrix, one that has a plane's very name.
    beside = {f"model.layers.0.mlp.up_proj.{n}": (dtype, [4], q[:8]) for n in ("g_idx", "uniform_codes")}
    for chosen in ("['*']", "['*q_proj*']"):
        shutil.rmtree(work / "beside", ignore_errors=True)
        write_tensors(folder, {**content, **extra, **beside})
        sageptq("run", "rtn", "--until", "quantize", "--set", f"include={chosen}", "--model", folder, "-o", "beside")
        perplexity("beside")
    write_tensors(folder, content)
    sageptq("run", "rtn", "--until", "quantize", "-o", "out", "--model", folder, "--strict")


def not_finite():
    """NaN outside the linear layers is found before anything is quantized."""
    nan = struct.pack("<H", 0x7E00)
    for name, place in (("lm_head.weight", "row 255"), ("model.embed_tokens.weight", "row 255"), ("model.norm.weight", "element 7"),
                        ("model.layers.0.post_attention_layernorm.weight", "element 7")):
        folder = model("dead_layer", name)
        content = tensors(folder)
        dtype, shape, data = content[name]
        write_tensors(folder, {**content, name: (dtype, shape, data[:-2] + nan)})
        for method in ("rtn", "gptq"):
            refused = sageptq("run", method, "--model", folder, "--until", "quantize", "--set", f"calibration.dataset={small}/calibration.txt", "--set",
                              "calibration.samples=4", "--set", "calibration.length_tokens=64", "-o", "out", expect=3)
            assert name in refused.stderr and "NaN" in refused.stderr and place in refused.stderr, refused.stderr
            assert "quantize:" not in refused.stderr and not list(work.glob("out*")), (refused.stderr, list(work.glob("out*")))


def transformers():
    """Other programs stop at a packed directory with the sentence that helps, and read an export as we do."""
    try:
        import torch
        import transformers as hf
    except ImportError as error:
        print(f"SKIPPED: {error}; install torch and transformers into the Python of the tests")
        sys.exit(77)
    folder = model("own_head")
    sageptq("run", "rtn", "--model", folder, "--until", "quantize", "-o", "packed")
    loads = {"AutoConfig": lambda: hf.AutoConfig.from_pretrained("packed"),
             "AutoModel": lambda: hf.AutoModel.from_pretrained("packed"),
             "AutoModelForCausalLM": lambda: hf.AutoModelForCausalLM.from_pretrained("packed"),
             "with a dtype": lambda: hf.AutoModelForCausalLM.from_pretrained("packed", torch_dtype=torch.float32),
             "LlamaForCausalLM": lambda: hf.LlamaForCausalLM.from_pretrained("packed"),
             "LlamaForCausalLM with a dtype": lambda: hf.LlamaForCausalLM.from_pretrained("packed", torch_dtype=torch.float32)}
    os.chdir(work)
    for name, load in loads.items():
        try:
            load()
        except Exception as error:
            assert "sageptq export" in str(error), (name, error)
        else:
            raise AssertionError(f"{name} opened the packed directory")

    (work / "line.txt").write_text((small / "text.txt").read_text().replace("\n", " "))  # one row: no join to imitate
    ids = hf.PreTrainedTokenizerFast(tokenizer_file=str(small / "tokenizer.json"))((work / "line.txt").read_text())["input_ids"][: 4 * 64]

    def agree(path):
        out = sageptq("eval", "--model", path, "--text", "line.txt", "--protocol", "gptq-64", "--windows", 4, "--format", "json")
        net = hf.AutoModelForCausalLM.from_pretrained(path).double().eval()
        with torch.no_grad():
            losses = [torch.nn.functional.cross_entropy(net(w).logits[0, :-1], w[0, 1:]) for w in torch.tensor([ids]).split(64, dim=1)]
        near(json.loads(out.stdout)["perplexity"], torch.stack(losses).mean().exp().item(), 1e-4)
    sageptq("export", "packed", "--dequantized", "-o", "exported")
    for path in (folder, "exported"):
        agree(path)
    kinds = ({"rope_type": "default", "rope_theta": 50.0}, {"rope_type": "linear", "factor": 4.0},
             {"rope_type": "llama3", "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32})
    for a, scaling in enumerate(kinds):
        for b, parameters in enumerate(kinds):
            agree(model("dead_layer", f"rope-{a}-{b}", rope_theta=None if b else 300.0, rope_scaling=scaling, rope_parameters=parameters))


globals()[case]()
print(f"{case}: passed")
