#!/usr/bin/env python3
"""One end-to-end case: e2e.py CASE SAGEPTQ SOURCE WORK. Exit 0 passed, 77 skipped, anything else failed."""
import hashlib
import json
import math
import os
import pathlib
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from device_files import grams_of, rows_that_differ
from program import SCORE, case, digest, environment, program, readers, sageptq, source, toy_model, work


def commands():
    model = toy_model()
    for method in ("sage_paper", "rtn"):
        out = sageptq("run", method, "--model", model, *SCORE, "-o", f"out-{method}", "--format", "json")
        row = json.loads(out.stdout)
        row = row["rows"][0] if isinstance(row, dict) else row[0]
        assert row["stored bits"] > row["paper bits"] > 0, row
        inspected = json.loads(sageptq("inspect", f"out-{method}", "--format", "json").stdout)
        assert abs(inspected["stored_bits"] - row["stored bits"]) < 1e-9
        size = (work / f"out-{method}/model.safetensors").stat().st_size
        assert sum(inspected["roles"].values()) + inspected["unquantized_bytes"] + inspected["metadata_bytes"] == size == inspected["file_bytes"]
    again = sageptq("run", "rtn", "--model", model, *SCORE, "-o", "out-rtn")
    assert "stored already" in again.stderr, again.stderr
    for verb in ("list", "doctor"):
        assert sageptq(verb).stdout
    assert "knn" in sageptq("describe", "spectral").stdout
    assert "pipeline" in sageptq("check", "sage_paper").stdout


def table_of(result):
    out = json.loads(result.stdout)
    return out["rows"] if isinstance(out, dict) else out


def evaluations():
    """What --windows, --text, --protocol and --kl do to a file's evaluations: each entry is changed, none is thrown away."""
    model = toy_model()
    (work / "other.txt").write_text((work / "text.txt").read_text()[::-1])
    (work / "two.yaml").write_text("name: two\nextends: rtn\neval:\n  - {protocol: gptq-32, text: other.txt, windows: 6}\n"
                                   "  - {protocol: llamacpp-64, text: other.txt, windows: 4, kl: true}\n")
    short = sageptq("run", "two.yaml", "--model", model, "--windows", 2)
    assert "evaluation 1 of 2: windows 6 -> 2" in short.stderr and "evaluation 2 of 2: windows 4 -> 2" in short.stderr, short.stderr
    (row,) = table_of(sageptq("report", "--store", work / "store", "--format", "json"))
    for task in ("gptq-32@other.txt", "llamacpp-64@other.txt"):
        assert any(task in column for column in row), row
    assert row["KL"] >= 0, row
    assert any(c.startswith("evaluate (reference): ") for c in short.stderr.splitlines()), short.stderr

    # --text holds for both, which stay two; --protocol makes them one.
    (work / "store").rename(work / "store 1")
    sageptq("run", "two.yaml", "--model", model, "--windows", 2, "--text", "text.txt")
    (row,) = table_of(sageptq("report", "--store", work / "store", "--format", "json"))
    assert sum("@text.txt" in c and "perplexity" in c and not c.endswith("stderr") for c in row) == 2 and not any("other.txt" in c for c in row), row
    dry = sageptq("sweep", "two.yaml", "--model", model, "--windows", 2, "--protocol", "gptq-32", "--kl", "--dry-run")
    assert "note: evaluation 2 of 2 is now equal to evaluation 1 and is left out" in dry.stderr, dry.stderr
    assert "stored two" not in dry.stdout, "another evaluation is another run"

    # A method that names none is scored as by default; divergence only where it was asked for.
    for options, measured in ((["--windows", 2], False), (["--windows", 2, "--kl"], True)):
        (row,) = table_of(sageptq("run", "rtn", "--model", model, "--text", "text.txt", "--protocol", "gptq-32", *options, "--format", "json"))
        assert (row["KL"] is not None) == measured, row

    for wrong, said in ((["--windows", -1], "--windows: found -1; expected at least 0"), (["--windows", "abc"], "option '--windows': found 'abc'; expected a whole number"),
                        (["--protocol", "gtpq-64"], "--protocol \"gtpq-64\": not known"), (["--protocol", "gtpq-64"], "did you mean 'gptq-64'?"),
                        (["--protocol", "lamacpp"], "did you mean 'llamacpp-512'?"), (["--seed", -4], "--seed: found -4; expected a whole number of at least 0")):
        for verb in ("run", "sweep"):
            answer = sageptq(verb, "two.yaml", "--model", model, *wrong, expect=2).stderr
            assert said in answer and "--set" not in answer and "18446" not in answer, answer
    assert "--protocol \"gtpq-64\"" in sageptq("eval", "--model", model, "--protocol", "gtpq-64", expect=2).stderr


def left_out():
    """Layers that are left as they are count in every figure of bits, and patterns that match nothing are errors."""
    model = toy_model(layers=1)
    run = ["run", "rtn", "--model", model, "--text", "text.txt", "--protocol", "gptq-32", "--windows", 2, "--format", "json"]
    (row,) = table_of(sageptq(*run, "--set", "exclude=['*down_proj*', '*self_attn*']", "-o", "part"))
    assert row["matrices quantized"] == "2 of 7", row
    raw = (work / "part/model.safetensors").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    config = json.loads((model / "config.json").read_text())
    hidden, wide, kv = config["hidden_size"], config["intermediate_size"], config["num_key_value_heads"] * (config["hidden_size"] // config["num_attention_heads"])
    weights = 3 * hidden * wide + 2 * hidden * hidden + 2 * hidden * kv
    size = sum(t["data_offsets"][1] - t["data_offsets"][0] for n, t in header.items() if "_proj." in n and n != "__metadata__")
    assert abs(row["stored bits"] - 8 * size / weights) < 1e-9, (row, 8 * size / weights)
    plain = sum(t["data_offsets"][1] - t["data_offsets"][0] for n, t in header.items() if n.endswith("_proj.weight"))
    assert plain == 2 * (hidden * wide + 2 * hidden * hidden + 2 * hidden * kv), plain
    assert row["stored bits"] > row["paper bits"] > 16 * (1 - 2 * hidden * wide / weights), row
    inspected = json.loads(sageptq("inspect", "part", "--format", "json").stdout)
    assert abs(inspected["stored_bits"] - row["stored bits"]) < 1e-9 and inspected["left_out_bytes"] == plain, inspected
    assert (inspected["quantized_matrices"], inspected["linear_matrices"]) == (2, 7), inspected
    assert "2 of 7 matrices quantized" in sageptq("inspect", "part").stdout
    (whole,) = table_of(sageptq(*run, "-o", "whole"))
    assert "matrices quantized" not in whole and whole["stored bits"] < 5, whole
    for name in ([], ["--table", "bits"], ["--table", "cost"]):
        rows = table_of(sageptq("report", "--store", work / "store", *name, "--format", "json"))
        assert sorted(str(r["matrices quantized"]) for r in rows) == ["2 of 7", "None"], rows
        assert sorted(round(r["stored bits"], 6) for r in rows) == sorted(round(r["stored bits"], 6) for r in (row, whole)), rows

    for pattern, meant in (("re:.*down_proj", "*down_proj*"), (".*down_proj.*", "*down_proj*"), ("down_proj", "*down_proj*"), ("*donw_proj*", "*down_proj*")):
        for key in ("exclude", "include"):
            for verb in (run, [*run[:1], *run[1:4], "--until", "quantize", "-o", "never"], ["sweep", *run[1:], "--dry-run"], ["check", "rtn", "--set", f"model.path={model}"]):
                said = sageptq(*verb, "--set", f"{key}=['{pattern}']", expect=2).stderr
                assert f"{key} '{pattern}' matches none of the model's 7 linear layers" in said and f"did you mean '{meant}'?" in said and "glob" in said, said
    assert "never quantized" in sageptq(*run, "--set", "exclude=['lm_head']", expect=2).stderr
    (work / "s.yaml").write_text("name: s\nextends: rtn\neval: []\nsweep: {grid: {exclude: [['*up_proj*'], ['up_proj']]}}\n")
    assert "exclude 'up_proj'" in sageptq("sweep", "s.yaml", "--model", model, expect=2).stderr
    assert len(list((work / "store").rglob("*.h5"))) == 2, "a sweep began that cannot be finished"
    note = sageptq("check", "rtn", "--set", "model.path=/nowhere", "--set", "exclude=['x']")
    assert "were not held against the model" in note.stderr, note.stderr


CALIBRATED = ["--set", "calibration.samples=2", "--set", "calibration.length_tokens=32", "--set", f"calibration.dataset={work}/text.txt"]


def gram_loss():
    """What is known of each calibrated matrix is in the run file, in tables, and a line of -v."""
    h5py, pandas = readers()
    model = toy_model()
    (work / "s.yaml").write_text("name: s\nextends: gptq\neval: []\nsweep: {list: [{name: gptq}, {name: plain, pipeline.compensator: none, pipeline.saliency: hessian,"
                                 " pipeline.threshold: {type: fixed, ratio: 0.05}, pipeline.salient_quantizer: multibit}, {name: rtn, extends: rtn}]}\n")
    said = sageptq("-v", "sweep", "s.yaml", "--model", model, *CALIBRATED, "-o", "s").stderr
    line = re.compile(r"^model\.layers\.\d\.\S+_proj\.weight: D 0\.\d{5}(, Gram loss 0\.\d{5})?, \d+\.\d\d s$", re.M)
    assert [bool(m[1]) for m in line.finditer(said)] == 28 * [True] + 14 * [False], said
    for point in json.loads((work / "s/sweep.json").read_text())["points"]:
        with h5py.File(work / "s" / point["run_file"]) as f:
            m = pandas.DataFrame(f["matrices"][:])
            calibrated = point["label"] != "rtn"
            for name in ("gram_loss", "percdamp", "damping_retries", "dead_columns"):
                assert m[name].notna().all() == calibrated and m[name].isna().all() != calibrated, (point["label"], m[name])
            assert m["threshold_cut"].notna().all() == (point["label"] == "plain"), m["threshold_cut"]
            assert not f.attrs["resumed"]
            if calibrated:
                assert ((m["gram_loss"] > 0) & (m["gram_loss"] < 0.5)).all() and (m["percdamp"] >= 0.01).all(), m
    rows = {r["label"]: r for r in table_of(sageptq("report", "s/sweep.json", "--table", "audit", "--format", "json"))}
    assert rows["gptq"]["Gram loss"] < rows["plain"]["Gram loss"] or rows["gptq"]["D"] != rows["plain"]["D"], rows
    assert rows["rtn"]["Gram loss"] is None and rows["plain"]["cut"] == 0.05, rows


def resumed_seconds():
    """Killed on its way, and finished by another process: the record's seconds are of both."""
    h5py, pandas = readers()
    model = toy_model(layers=24)
    run = ["run", "gptq", "--model", model, *SCORE, *CALIBRATED]
    process = subprocess.Popen([program, *map(str, run)], env=environment, cwd=work, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None and len(list((work / "store").rglob("layer_*.safetensors"))) < 6:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was done before it could be killed"
    finished = [json.loads(p.read_bytes()[8 : 8 + int.from_bytes(p.read_bytes()[:8], "little")])["__metadata__"] for p in (work / "store").rglob("layer_*.safetensors")]
    assert 0 < len(finished) < 24
    before = [json.loads(m["layer_report"]) for m in finished]
    sageptq(*run)
    (path,) = (work / "store").rglob("*.h5")
    with h5py.File(path) as f:
        timing, matrices = pandas.DataFrame(f["timing"][:]).set_index("stage")["seconds"], pandas.DataFrame(f["matrices"][:])
        assert f.attrs["resumed"] == 1
    assert len(matrices) == 7 * 24 and matrices["gram_loss"].notna().all()
    assert timing[b"quantize"] >= matrices["seconds"].sum() > 0, (timing, matrices["seconds"].sum())
    assert timing[b"quantize"] > sum(r["seconds"]["quantize"] for r in before) and timing[b"calibrate"] > sum(r["seconds"]["calibrate"] for r in before) > 0, (timing, before)
    for r in before:
        for name, m in r["matrices"].items():
            assert matrices.set_index("name").loc[name.encode(), "seconds"] == m["seconds"], name
    assert "Seconds are sums over the processes that worked on it" in sageptq("report", "--store", work / "store").stdout


def resume_after_kill():
    model = toy_model(layers=60)
    sageptq("run", "sage_paper", "--model", model, "--until", "quantize", "-o", "whole")
    killed = 0
    for delay in (0.05, 0.15, 0.3, 0.5, 0.8):
        process = subprocess.Popen([program, "run", "sage_paper", "--model", model, "--until", "quantize", "-o", "killed"], env=environment, cwd=work,
                                   stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        assert not (work / "killed").exists() or (work / "killed/config.json").exists(), "a half-written folder has its final name"
        for part in (work / "killed.work").glob("*.safetensors") if (work / "killed.work").exists() else []:
            header = int.from_bytes(part.read_bytes()[:8], "little")
            json.loads(part.read_bytes()[8 : 8 + header])
        if (work / "killed").exists():
            break
    assert killed > 0
    sageptq("run", "sage_paper", "--model", model, "--until", "quantize", "-o", "killed")
    assert digest(work / "whole/model.safetensors") == digest(work / "killed/model.safetensors")
    assert not (work / "killed.work").exists()


def full_disk():
    model = toy_model()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    for method in ("sage_paper", "rtn"):
        failed = sageptq("run", method, "--model", model, "--until", "quantize", "-o", "out", expect=3, preexec_fn=limit)
        assert "free some space" in failed.stderr, failed.stderr
        assert not (work / "out").exists()
        assert not list(work.rglob("*.part*")), list(work.rglob("*.part*"))
    sageptq("run", "rtn", "--model", model, "--until", "quantize", "-o", "out")


def threads():
    model = toy_model()
    digests = set()
    for n in (1, 2, 3):
        sageptq("--threads", n, "run", "sage_paper", "--model", model, "--until", "quantize", "-o", f"out{n}")
        digests.add(digest(work / f"out{n}/model.safetensors"))
    assert len(digests) == 1, "the packed bytes depend on the number of threads"


def sweep():
    model = toy_model()
    (work / "sweep.yaml").write_text(
        "name: small\nextends: sage_paper\neval: [{protocol: gptq-64, text: text.txt, windows: 3, kl: true}]\n"
        "sweep: {list: [{name: fp, pipeline: none}, {name: two, pipeline.grouping.groups: 2}, {name: rtn, extends: rtn}]}\n")
    dry = sageptq("sweep", "sweep.yaml", "--model", model, "--dry-run")
    assert "3 to run" in dry.stdout, dry.stdout
    assert not (work / "store").exists() or not list((work / "store").rglob("*.h5")), "a dry run ran something"
    first = sageptq("sweep", "sweep.yaml", "--model", model, "-o", "s")
    second = sageptq("sweep", "sweep.yaml", "--model", model, "-o", "s")
    assert "0 run, 3 stored before, 0 failed" in second.stderr, second.stderr
    manifest = json.loads((work / "s/sweep.json").read_text())
    assert [p["label"] for p in manifest["points"]] == ["fp", "two", "rtn"]
    for p in manifest["points"]:
        assert (work / "s" / p["run_file"]).exists()
    for form in ("table", "md", "latex", "csv", "json"):
        assert sageptq("report", "s/sweep.json", "--format", form).stdout
    assert "nll" in sageptq("compare", *[work / "s" / p["run_file"] for p in manifest["points"]][:2]).stdout.lower()

    # A point that fails is recorded, the others run, the exit code says so.
    raw = bytearray((model / "model.safetensors").read_bytes())
    length = int.from_bytes(raw[:8], "little")
    info = json.loads(raw[8 : 8 + length])["model.layers.1.mlp.down_proj.weight"]
    at = 8 + length + info["data_offsets"][0]
    raw[at : at + 2] = b"\x00\x7e"  # a NaN
    bad = work / "bad"
    shutil.copytree(model, bad)
    (bad / "model.safetensors").write_bytes(raw)
    (work / "bad.yaml").write_text("name: bad\neval: []\nsweep: {list: [{name: rtn, extends: rtn}, {name: sage, extends: sage_paper}]}\n")
    failed = sageptq("sweep", "bad.yaml", "--model", bad, "-o", "b", expect=4)
    assert "model.layers.1.mlp.down_proj.weight" in failed.stderr, failed.stderr
    assert len(list((work / "store").rglob("*.failed.h5"))) == 2


def bad_input():
    model = toy_model()
    unknown = sageptq("run", "sage_paper", "--model", model, "--set", "pipeline.saliency.centr=zero", "-o", "x", expect=2)
    assert "did you mean 'center'" in unknown.stderr, unknown.stderr
    slot = sageptq("run", "sage_paper", "--model", model, "--set", "quantiser.scale=row", expect=2)
    assert "--set quantiser.scale=row: unknown key 'quantiser'" in slot.stderr and "did you mean 'quantizer'?" in slot.stderr, slot.stderr
    (work / "typo.yaml").write_text("extends: sage_paper\npipeline:\n  grouping: {type: spectrl}\n")
    typo = sageptq("check", "typo.yaml", expect=2)
    assert "typo.yaml:3" in typo.stderr and "spectral" in typo.stderr, typo.stderr
    assert "rtn" in sageptq("run", "rtm", "--model", model, expect=2).stderr
    assert sageptq("run", "rtn", "--model", "nowhere", expect=3).stderr
    assert "sageptq run" in sageptq("inspect", model, expect=3).stderr
    deep = work / "deep.yaml"
    deep.write_text("a: " + "[" * 5000 + "]" * 5000)
    sageptq("check", deep, expect=2)
    # Damaged weights: truncated, and a header that lies about its length.
    good = (model / "model.safetensors").read_bytes()
    for name, data in (("truncated", good[: len(good) // 2]), ("length", (2**60).to_bytes(8, "little") + good[8:]), ("empty", b"")):
        folder = work / name
        shutil.copytree(model, folder)
        (folder / "model.safetensors").write_bytes(data)
        r = sageptq("run", "rtn", "--model", folder, "--until", "quantize", "-o", f"{name}-out", expect=3)
        assert "model.safetensors" in r.stderr, r.stderr
        assert not (work / f"{name}-out").exists()
    # A damaged packed file never evaluates quietly to something else's crash.
    sageptq("run", "sage_paper", "--model", model, "--until", "quantize", "-o", "packed")
    packed = bytearray((work / "packed/model.safetensors").read_bytes())
    rng = random.Random(7)
    for _ in range(12):
        damaged = bytearray(packed)
        for _ in range(8):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        (work / "packed/model.safetensors").write_bytes(damaged)
        r = subprocess.run([program, "inspect", "packed"], capture_output=True, text=True, env=environment, cwd=work)
        assert r.returncode in (0, 3), (r.returncode, r.stderr)
        r = subprocess.run([program, "eval", "--model", "packed", *map(str, SCORE), "--format", "json"], capture_output=True, text=True, env=environment, cwd=work)
        assert r.returncode in (0, 3), (r.returncode, r.stderr)
        assert r.returncode == 0 or any(line.startswith("sageptq: ") for line in r.stderr.splitlines()), r.stderr


def packed_equals_export():
    model = toy_model()
    sageptq("run", "sage_paper", "--model", model, "--until", "quantize", "-o", "packed")
    sageptq("export", "packed", "--dequantized", "--dtype", "F32", "-o", "exported")
    packed, exported, full = (json.loads(sageptq("eval", "--model", d, *SCORE, "--format", "json").stdout) for d in ("packed", "exported", model))
    assert packed["nll"] == exported["nll"], "the exported weights are not the packed ones"
    assert packed["nll"] != full["nll"], "the packed model is the full-precision one"
    assert packed["windows"] == 3 and packed["perplexity"] > 1


def opt():
    """Quantized, packed, inspected, exported and scored like any other family; what OPT cannot do is said before the work."""
    for shape in ("opt-toy", "opt-toy-post-norm"):
        model = toy_model(shape=shape, tokenizer="opt")
        full = json.loads(sageptq("eval", "--model", model, *SCORE, "--format", "json").stdout)
        for method in ("sage_paper", "rtn"):
            packed, exported = f"{shape}-{method}", f"{shape}-{method}-exported"
            out = json.loads(sageptq("run", method, "--model", model, *SCORE, "-o", packed, "--format", "json").stdout)
            row = (out["rows"] if isinstance(out, dict) else out)[0]
            assert row["stored bits"] > row["paper bits"] > 0, row
            inspected = json.loads(sageptq("inspect", packed, "--format", "json").stdout)
            assert len(inspected["matrices"]) == 12, [m["name"] for m in inspected["matrices"]]
            size = (work / packed / "model.safetensors").stat().st_size
            assert sum(inspected["roles"].values()) + inspected["unquantized_bytes"] + inspected["metadata_bytes"] == size
            sageptq("export", packed, "--dequantized", "--dtype", "F32", "-o", exported)
            a, b = (json.loads(sageptq("eval", "--model", d, *SCORE, "--format", "json").stdout) for d in (packed, exported))
            assert a["nll"] == b["nll"] != full["nll"], (a["nll"], b["nll"], full["nll"])
    model = work / "opt-toy"
    (work / "text.txt").write_text((work / "text.txt").read_text() * 4)
    long = sageptq("run", "rtn", "--model", model, "--text", "text.txt", "--protocol", "gptq-4096", "-o", "long", expect=2)
    assert "max_position_embeddings = 2048" in long.stderr and "gptq-2048" in long.stderr, long.stderr
    assert not list(work.glob("long*")), "the model was quantized before the windows were refused"
    assert "gptq-2048" in sageptq("eval", "--model", model, "--text", "text.txt", "--protocol", "gptq-4096", expect=2).stderr
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "activation_function": "gelu_new"}))
    gelu = sageptq("run", "rtn", "--model", model, "--until", "quantize", "-o", "gelu", expect=3)
    assert "activation_function: found 'gelu_new'; expected relu or gelu" in gelu.stderr, gelu.stderr
    assert not (work / "gelu").exists()
    for model in ("opt", "opt_350m_style"):
        folder = source / "tests/data/hf" / model
        said = json.loads(sageptq("parity", "--model", folder, "--expected", folder / "expected.safetensors", "--format", "json").stdout)
        assert said["within"] and len(said["tensors"]) == 5, said


def texts():
    """What stands beside a model and in its texts: added tokens, a folder of the hub's cache, carriage returns, seen texts."""
    chat = source / "tests/data/chat"
    score = ["eval", "--text", chat / "chat.txt", "--protocol", "gptq-64", "--windows", 4, "--format", "json"]
    said = sageptq(*score, "--model", chat)
    # transformers 5.24 (AutoTokenizer and AutoModelForCausalLM in FP32) on these files; 1201.279 without the tokens
    assert abs(json.loads(said.stdout)["perplexity"] - 1339.553) < 2e-3, said.stdout
    assert "warning" not in said.stderr, said.stderr
    snapshot = work / "models--org--chat/snapshots/0123"
    shutil.copytree(chat, snapshot)
    assert json.loads(sageptq(*score, "--model", work / "models--org--chat").stdout)["perplexity"] == json.loads(said.stdout)["perplexity"]
    (snapshot / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n")
    assert "run `git lfs pull` in" in sageptq(*score, "--model", snapshot, expect=3).stderr

    model = toy_model()
    (work / "crlf.txt").write_bytes((work / "text.txt").read_bytes().replace(b"\n", b"\r\n"))
    quick = ["--protocol", "gptq-64", "--windows", 2]
    ran = sageptq("run", "rtn", "--model", model, "--text", "crlf.txt", *quick)
    assert ran.stderr.count("60 carriage returns") == 1, ran.stderr
    calibrated = ["--set", "calibration.samples=2", "--set", "calibration.length_tokens=64"]
    ran = sageptq("run", "gptq", "--model", model, "--text", "text.txt", *quick, *calibrated, "--set", "calibration.dataset=text.txt")
    assert "Calibrated on the text that is evaluated" in ran.stderr, ran.stderr
    ran = sageptq("run", "gptq", "--model", model, "--text", "text.txt", *quick, *calibrated, "--set", "calibration.dataset=crlf.txt")
    assert "Calibrated on the text" not in ran.stderr, ran.stderr
    captions = [sageptq("report", path, "--format", "md").stdout for path in sorted((work / "store").rglob("*.h5"))]
    assert sorted((c.count("carriage returns"), c.count("Calibrated on the text that is evaluated")) for c in captions) == [(0, 1), (1, 0), (1, 0)], captions


def run_file():
    h5py, pandas = readers()
    model = toy_model()
    sageptq("run", "sage_paper", "--model", model, *SCORE, "--trace")
    (path,) = (work / "store").rglob("*.h5")
    with h5py.File(path) as f:
        matrices = pandas.DataFrame(f["matrices"][:])
        assert len(matrices) == 14, len(matrices)
        assert (matrices["stored_bits"] > matrices["paper_bits"]).all()
        roles = pandas.DataFrame(f["storage/by_role"][:])
        stored = 8 * roles["bytes"].sum() / f["storage"].attrs["linear_weights"]
        assert abs(stored - f["storage"].attrs["stored_bits"]) < 1e-9
        assert f.attrs["run_key"] and f["provenance"].attrs["model_digest"]
        (task,) = f["eval"].keys()
        assert f["eval"][task]["nll"].shape == (3,)
        assert len(f["trace"]) == 14


def readme():
    tables = sageptq("list", "components", "--format", "md").stdout.strip()
    text = (source / "README.md").read_text()
    begin, end = "<!-- components: sageptq list components --format md -->\n", "\n<!-- end of components -->"
    assert begin in text and end in text, "README.md has no component tables between their marks"
    assert text.split(begin)[1].split(end)[0].strip() == tables, "README.md's component tables are not `sageptq list components --format md`"


def completion():
    words = sageptq("__complete", "ru").stdout.split()
    assert "run" in words, words


def matrix():
    model = toy_model()
    tensor = f"{model}/model.safetensors:model.layers.0.mlp.up_proj.weight"
    r = json.loads(sageptq("matrix", "--input", tensor, "--method", "sage_paper", "--set", "saliency.center=zero", "-o", "m.h5", "--format", "json").stdout)
    assert r["stored_bits"] > r["paper_bits"] > 1 and 0 < r["D"] < 0.5, r
    again = json.loads(sageptq("matrix", "--input", "m.h5", "--weights", "/dequantized", "--method", "rtn", "--format", "json").stdout)
    assert again["shape"] == r["shape"]
    missing = sageptq("matrix", "--input", "m.h5", "--weights", "/nothing", "--method", "rtn", expect=3)
    assert "'/nothing'" in missing.stderr, missing.stderr
    assert "did you mean" in sageptq("matrix", "--input", "m.h5", "--method", "sage_papr", expect=2).stderr


def perplexity_of(out):
    """Of the one row that `run` or `eval` printed as JSON."""
    said = json.loads(out.stdout)
    return said["perplexity"] if "perplexity" in said else float(str(said["rows"][0]["perplexity"]).split()[0])


def near(value, expected):
    assert abs(value / expected - 1) < 1e-4, (value, expected)


def identity():
    """What is stored answers for its own model, program and scheme of keys, and for nothing else. Perplexities are transformers'."""
    data = source / "tests/data/identity"
    for model in ("a", "b"):
        shutil.copytree(data / "model", work / model)
    shutil.copy(data / "stretched_config.json", work / "b/config.json")
    shutil.copy(data / "text.txt", work / "text.txt")
    score = ["--text", "text.txt", "--protocol", "gptq-64", "--windows", 4, "--format", "json"]

    # Another rope_theta and another epsilon, the same weights: two models, for kept states and for runs.
    compared = sageptq("eval", "--model", "b", "--compare-with", "a", *score)
    near(perplexity_of(compared), 529.154)
    assert json.loads(compared.stdout)["kl"] > 0.01 and json.loads(compared.stdout)["top1_agreement"] < 1, compared.stdout
    near(perplexity_of(sageptq("run", "rtn", "--model", "a", *score)), 592.726)
    stretched = sageptq("run", "rtn", "--model", "b", *score)
    assert "stored already" not in stretched.stderr, stretched.stderr
    near(perplexity_of(stretched), 528.538)
    near(perplexity_of(sageptq("eval", "--model", "b", *score)), 529.154)
    near(perplexity_of(sageptq("eval", "--model", "a", *score)), 603.998)
    # A packed folder's numbers follow its config.json as well.
    sageptq("run", "rtn", "--model", "a", *score, "-o", "packed")
    near(perplexity_of(sageptq("eval", "--model", "packed", "--compare-with", "packed", *score)), 592.726)
    config = json.loads((work / "packed/config.json").read_text())
    (work / "packed/config.json").write_text(json.dumps({**config, "rope_theta": 100.0, "rms_norm_eps": 0.05}))
    near(perplexity_of(sageptq("eval", "--model", "packed", *score)), 528.538)
    # What decides nothing makes no other model.
    config = json.loads((work / "b/config.json").read_text())
    (work / "b/config.json").write_text(json.dumps({**config, "torch_dtype": "float32", "transformers_version": "9.9", "_name_or_path": "x", "use_cache": False}))
    assert "stored already" in sageptq("run", "rtn", "--model", "b", *score).stderr

    # A store whose keys are of the scheme before: its run is listed, is not taken for today's, and stays as it was.
    shutil.copytree(data / "store_1", work / "old")
    (old,) = (work / "old").rglob("*.h5")
    before = digest(old)
    assert "592.7" in sageptq("report", "--store", "old").stdout
    again = sageptq("run", "rtn", "--model", "a", "--store", "old", *score)
    assert "stored already" not in again.stderr, again.stderr
    assert digest(old) == before and len(list((work / "old").rglob("*.h5"))) == 2
    assert sageptq("report", old, "--format", "csv").stdout.count("592.7") == 1


def rerun():
    """A run that another build stored is shown as such, and made again by --rerun; what was stored stays readable as it was."""
    model = toy_model()
    sources = re.search(r"sources +([0-9a-f]{64})", sageptq("doctor").stdout)[1].encode()

    def stored():
        return sorted(p for p in (work / "store").rglob("*.h5") if "former" not in p.name)

    def by_another_build(path):
        image = path.read_bytes()[512:]
        assert image.count(sources) == 1, "a record says which sources made it"
        image = image.replace(sources, sources[::-1])
        (work / "image").write_bytes(image)
        head = f"sage-ptq run file\nsha256 {digest(work / 'image')} of all bytes after the first 512\n".encode()
        path.chmod(0o644)
        path.write_bytes(head.ljust(512, b"\0") + image)

    run = ["run", "rtn", "--model", model, *SCORE]
    first = sageptq(*run)
    assert "another build" not in first.stdout + first.stderr
    (path,) = stored()
    again = sageptq(*run)
    assert "is stored already\n" in again.stderr and "another build" not in again.stdout + again.stderr, again.stderr
    by_another_build(path)
    before = digest(path)
    again = sageptq(*run)
    assert "stored already, by another build; --rerun makes it again" in again.stderr, again.stderr
    note = "Stored by another build than this program: rtn"
    plain = lambda text: " ".join(text.split())  # captions are broken into lines
    assert note in plain(again.stdout) and note in plain(sageptq("report").stdout), again.stdout
    anew = sageptq(*run, "--rerun")
    assert "stored already" not in anew.stderr and "another build" not in anew.stdout, (anew.stdout, anew.stderr)
    assert stored() == [path] and digest(path) != before
    former = path.with_name(path.stem + ".former-1.h5")
    assert digest(former) == before and "rtn" in sageptq("report", former).stdout
    assert note not in plain(sageptq("report").stdout)
    # The same build may be asked, too, e.g. for times; a folder left earlier is not taken for a new one.
    sageptq(*run, "--rerun")
    assert digest(former) == before and path.with_name(path.stem + ".former-2.h5").exists()
    (work / "there").mkdir()
    refused = sageptq(*run, "--rerun", "-o", "there", expect=2)
    assert "there: exists" in refused.stderr and stored() == [path], refused.stderr

    # A sweep makes those again that another build stored, and only those: the same command resumes.
    (work / "two.yaml").write_text("name: two\neval: [{protocol: gptq-64, text: text.txt, windows: 2}]\n"
                                   "sweep: {list: [{name: a, extends: rtn}, {name: b, extends: rtn_minmax_1bit}]}\n")
    sweep = ["sweep", "two.yaml", "--model", model]
    sageptq(*sweep)
    (changed,) = [p for p in stored() if p != path][:1]
    by_another_build(changed)
    plan = sageptq(*sweep, "--dry-run").stdout
    assert plan.count("stored by another build ") == 1 and len(re.findall("^stored [ab]$", plan, re.M)) == 1, plan
    shown = sageptq(*sweep)
    assert shown.stderr.count("stored already, by another build: ") == 1 and shown.stderr.count("stored already: ") == 1, shown.stderr
    assert "Stored by another build" in plain(shown.stdout), shown.stdout
    for expected in ("1 run, 1 stored before", "0 run, 2 stored before"):
        anew = sageptq(*sweep, "--rerun")
        assert expected in anew.stderr and "another build" not in anew.stdout, (anew.stdout, anew.stderr)


def device():
    """The CUDA backend, its kernels executed on the CPU, gives the files and the perplexity of `cpu`.

    Methods that calibrate see Grams that differ in their last bits. Where a weight lies half-way between two codes, that decides, and
    the rest of its row, and with quantized propagation all blocks after it, follow: hence original propagation, and rows."""
    model = toy_model()
    score = ["--text", "text.txt", "--protocol", "gptq-64", "--windows", 2, "--format", "json"]
    calibrated = ["--set", "calibration.samples=2", "--set", "calibration.length_tokens=32", "--set", f"calibration.dataset={work}/text.txt",
                  "--set", "calibration.propagation=original"]
    for method, options in (("sage_paper", []), ("rtn", []), ("gptq", calibrated), ("billm_released", calibrated), ("pb_llm_g128", calibrated)):
        rows = {}
        for where in ("cpu", "cuda_on_cpu"):
            out = sageptq("run", method, "--model", model, *score, *options, "--device", where, "-o", f"{method}-{where}")
            row = json.loads(out.stdout)
            rows[where] = row["rows"][0] if isinstance(row, dict) else row[0]
        same = digest(work / f"{method}-cpu/model.safetensors") == digest(work / f"{method}-cuda_on_cpu/model.safetensors")
        assert same or options, method
        if not same:
            differ, count = rows_that_differ(f"{method}-cpu", f"{method}-cuda_on_cpu")
            print(f"{method}: {differ} of {count} rows differ")
            assert differ <= 0.02 * count, (method, differ, count)
        a, b = (float(str(rows[w]["perplexity"]).split()[0]) for w in ("cpu", "cuda_on_cpu"))
        assert abs(a - b) <= (1e-4 if same else 0.02) * a, (method, a, b)
    ours, theirs = grams_of("cpu"), grams_of("cuda_on_cpu")
    assert len(ours) == 8 and ours.keys() == theirs.keys(), (ours.keys(), theirs.keys())
    for key, gram in ours.items():
        error = math.dist(gram, theirs[key]) / math.hypot(*gram)
        assert error < 1e-5, (key, error)
    runs = json.loads(sageptq("run", "rtn", "--model", model, *score, "--device", "cuda_on_cpu", "-o", "rtn-cuda_on_cpu").stdout)
    assert runs, "the device's run is stored"
    unknown = sageptq("run", "rtn", "--model", model, "--device", "cdua", expect=2)
    assert "did you mean 'cuda'?" in unknown.stderr, unknown.stderr
    if "not available" in next(line for line in sageptq("doctor").stdout.splitlines() if line.split()[:1] == ["cuda"]):
        absent = sageptq("run", "rtn", "--model", model, "--device", "cuda", "-o", "absent", expect=3)
        assert "cuda" in absent.stderr and "--device cpu" in absent.stderr, absent.stderr
        assert not list(work.glob("absent*"))

    # A model the device cannot run is refused first of all: texts that are not there are never missed, no folder appears.
    wide = toy_model(shape="toy-wide-heads")
    on_device = ["--model", wide, "--device", "cuda_on_cpu"]
    nothing = ["--text", "nowhere.txt", "--protocol", "gptq-64", "--windows", 2]
    (work / "wide.yaml").write_text("name: wide\neval: [{protocol: gptq-64, text: nowhere.txt}]\nsweep: {list: [{name: rtn, extends: rtn}]}\n")
    expected = source / "tests/data/hf/llama_mha/expected.safetensors"
    for command in (["run", "rtn", *on_device, *nothing, "-o", "wide-out"],
                    ["run", "gptq", *on_device, "--set", "calibration.dataset=nowhere.txt", "--until", "quantize", "-o", "wide-out"],
                    ["sweep", "wide.yaml", *on_device, "-o", "wide-out"],
                    ["sweep", "wide.yaml", *on_device, "--dry-run"],
                    ["eval", *on_device, *nothing],
                    ["parity", *on_device, "--expected", expected]):
        refused = sageptq(*command, expect=3)
        assert "cuda_on_cpu: attention: heads of 512 values; expected at most 256; use --device cpu" in refused.stderr, refused.stderr
        assert not list(work.glob("wide-out*")), command
    # Nothing of it is computed where a matrix is quantized by itself and nothing is scored.
    sageptq("run", "rtn", *on_device, "--until", "quantize", "-o", "wide-out")


def bench():
    """What can be said of benchmarks without a look at their times: each operation has a row, and only the host has bounds."""
    out = sageptq("bench", "--device", "cuda_on_cpu", "--format", "json")
    assert "say nothing about a GPU" in out.stderr, out.stderr
    rows = json.loads(out.stdout)["rows"]
    names = [r["benchmark"] for r in rows]
    assert len(set(names)) == len(names) and {n.split("/")[0] for n in names} == {"quantize", "forward", "calibration", "compensation", "splits", "coding", "packed", "method"}, names
    for row in rows:
        assert row["best ms"] > 0 and row["rate"] > 0 and row["unit"] in ("GB/s", "GFLOP/s", "Mweights/s"), row
        assert row["bound"] is None and row["fraction"] is None, row
    (row,) = json.loads(sageptq("bench", "--filter", "calibration/gram/2048x576", "--format", "json").stdout)["rows"]
    assert row["bound"] > 0 and abs(row["fraction"] - row["rate"] / row["bound"]) < 1e-9, row
    assert "'quantize/matrix_stats'" in sageptq("bench", "--filter", "nothing", "--device", "cuda_on_cpu", expect=2).stderr
    assert "did you mean 'cuda'?" in sageptq("bench", "--device", "cdua", expect=2).stderr
    if "not available" in next(line for line in sageptq("doctor").stdout.splitlines() if line.split()[:1] == ["cuda"]):
        absent = sageptq("bench", "--device", "cuda", expect=3)
        assert "--device cpu" in absent.stderr and not absent.stdout, (absent.stderr, absent.stdout)


def processors():
    """How many threads there are and how they wait, and that the environment is otherwise as it was."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK", "OMP_PROC_BIND", "OMP_PLACES"):
        environment.pop(name, None)
    whole = dict(environment)

    def doctor(*options, **variables):
        environment.clear()
        environment.update({**whole, **variables})
        out = sageptq(*options, "doctor")
        lines = {line.split()[0]: line[18:] for line in out.stdout.splitlines() if line.startswith("  ")}
        return lines, out.stderr

    def spins(**variables):
        return re.search(r"GOMP_SPINCOUNT = '(\w+)'", doctor(OMP_DISPLAY_ENV="verbose", **variables)[1])[1]

    # What the runtime itself says it found.
    assert spins() == "0", spins()
    assert spins(OMP_WAIT_POLICY="passive") == "0"
    assert int(spins(OMP_WAIT_POLICY="active").replace("INFINITY", "30000000000")) > 1e9, "the user's policy was overridden"
    assert spins(GOMP_SPINCOUNT="77") == "77"
    assert doctor()[0]["waiting"].startswith("OMP_WAIT_POLICY=passive (set by sageptq"), doctor()[0]["waiting"]
    assert doctor(OMP_WAIT_POLICY="active")[0]["waiting"] == "OMP_WAIT_POLICY=active"
    assert doctor(GOMP_SPINCOUNT="77")[0]["waiting"] == "GOMP_SPINCOUNT=77"
    # Through the dynamic loader, as bundles are started, too.
    loader = pathlib.Path("/lib64/ld-linux-x86-64.so.2")
    if loader.exists():
        started = subprocess.run([loader, program, "--version"], capture_output=True, text=True, env=environment)
        assert started.returncode == 0 and started.stdout, started.stderr
    # OpenBLAS' kernels: the user's, else none older than the machine.
    assert "(Prescott)" in doctor(OPENBLAS_CORETYPE="Prescott")[0]["cpu"], doctor(OPENBLAS_CORETYPE="Prescott")
    if "avx2" in open("/proc/cpuinfo").read() and "OPENBLAS_CORETYPE" not in whole:
        assert "Prescott" not in doctor()[0]["cpu"] and "Nehalem" not in doctor()[0]["cpu"], doctor()[0]["cpu"]
    # The variable whose place was taken for a moment is back.
    whole, before = {name: str(work / f"lent {name}") for name in ("SAGEPTQ_CACHE", "SAGEPTQ_STORE")}, whole
    lines, said = doctor(OMP_DISPLAY_ENV="verbose")
    assert "GOMP_SPINCOUNT = '0'" in said, said
    assert all(lines[name].startswith(str(work / f"lent SAGEPTQ_{name.upper()}")) for name in ("cache", "store")), lines
    # No variable but one that may be anybody's: the runtime keeps its own way.
    environment.clear()
    environment.update(OMP_DISPLAY_ENV="verbose")
    assert "GOMP_SPINCOUNT = '0'" not in sageptq("--version").stderr
    whole = before
    environment.clear()
    environment.update(whole)

    machine = len(os.sched_getaffinity(0))
    assert doctor(OMP_NUM_THREADS="3")[0]["threads"] == "3 (OMP_NUM_THREADS)"
    assert doctor("--threads", machine + 5)[0]["threads"] == f"{machine + 5} (--threads)"
    if machine > 1:
        assert doctor(SLURM_CPUS_PER_TASK="1")[0]["threads"] == "1 (SLURM_CPUS_PER_TASK)"
        bound = sageptq("doctor", preexec_fn=lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})).stdout
        assert re.search(r"threads +1 \(affinity: 1 of \d+ processors\)", bound), bound
        assert re.search(r"\n  cpu .*, 1 threads", bound), bound


def device_record():
    """What a run's record says of the device: its memory, stage by stage, and what ran when."""
    h5py, pandas = readers()
    model = toy_model()
    weights, head, states = 4 * 160 * 64, 4 * 2048 * 64, 4 * 3 * 64 * 64  # bytes: of the largest matrix, the head, three windows

    def record(*arguments):
        """timing by stage and timeline (None: there is none) of a run, its device's memory, and how long the command took."""
        before, started = set((work / "store").rglob("*.h5")), time.monotonic()
        sageptq("run", *arguments, "--model", model, *SCORE, "--kl")
        seconds = time.monotonic() - started
        (path,) = set((work / "store").rglob("*.h5")) - before
        with h5py.File(path) as f:
            device = re.search(r"([\d.]+) GB", str(f["provenance"].attrs["backend"]))
            total = float(device[1]) * 1e9 if device else 0
            timing = pandas.DataFrame(f["timing"][:]).set_index("stage")
            return timing, pandas.DataFrame(f["timeline"][:]) if "timeline" in f else None, total, seconds

    def check_timeline(line, seconds):
        assert list(line.columns) == ["stream", "what", "start_s", "end_s"] and set(line["stream"]) == {b"compute", b"transfer"}, line
        assert (line["start_s"] > 0).all() and (line["start_s"] <= line["end_s"]).all() and (line["end_s"] < seconds).all(), line
        assert line["start_s"].is_monotonic_increasing, line
        compute = line[line["stream"] == b"compute"]
        assert (compute["end_s"].values[:-1] <= compute["start_s"].values[1:]).all(), "one span after another"
        assert (compute["end_s"] - compute["start_s"]).sum() > 0, line

    calibrated = ["--set", "calibration.samples=2", "--set", "calibration.length_tokens=32", "--set", f"calibration.dataset={work}/text.txt"]
    timing, line, total, seconds = record("gptq", *calibrated, "--trace", "--device", "cuda_on_cpu")
    assert list(timing.index) == [b"calibrate", b"quantize", b"evaluate gptq-64"], timing
    peak = timing["device_peak_bytes"]
    assert (peak <= total).all() and 8e9 < total < 9e9, (peak, total)
    assert (peak[:2] >= weights).all() and peak.iloc[2] >= head + states, peak
    check_timeline(line, seconds)
    what = [w.decode() for w in line["what"]]
    # Calibration: the first block's Grams, its outputs once it is quantized, the second block's Grams. Evaluation: the model in full
    # precision, which divergence is taken from, and the quantized one, each block by block to its head.
    times = {name: what.count(name) for name in ("block 0 and its Grams", "block 1 and its Grams", "block 0", "block 1", "head")}
    assert times == {"block 0 and its Grams": 1, "block 1 and its Grams": 1, "block 0": 3, "block 1": 2, "head": 2}, what
    assert len([w for w in what if w.endswith("_proj.weight")]) == len(set(w for w in what if w.endswith("_proj.weight"))) == 14, what
    assert what.count("2048 x 64") >= 1 and what.count("160 x 64") >= 4, what
    where = dict(zip(what, line["stream"]))
    assert where["head"] == where["block 0"] == b"compute" and where["2048 x 64"] == where["160 x 64"] == b"transfer", where

    timing, line, total, _ = record("rtn", "--device", "cuda_on_cpu")
    assert line is None, "a timeline was recorded, and not asked for"
    assert (timing["device_peak_bytes"] > 0).all() and (timing["device_peak_bytes"] <= total).all(), timing
    assert timing["device_peak_bytes"].iloc[0] < head + states, "the peak of quantizing is that of evaluating"
    timing, line, *_ = record("rtn", "--trace")
    assert line is None and (timing["device_peak_bytes"] == 0).all(), "the host has a device's figures"

    # Two runs of one process: each has its own timeline, each stage its own peak.
    (work / "two.yaml").write_text("name: two\ntrace: true\neval: [{protocol: gptq-64, text: text.txt, windows: 2}]\n"
                                   "sweep: {list: [{name: a, extends: rtn}, {name: b, extends: rtn_minmax_1bit}]}\n")
    started = time.monotonic()
    sageptq("sweep", "two.yaml", "--model", model, "--device", "cuda_on_cpu", "-o", "two")
    seconds = time.monotonic() - started
    lines = []
    for point in json.loads((work / "two/sweep.json").read_text())["points"]:
        with h5py.File(work / "two" / point["run_file"]) as f:
            lines.append(pandas.DataFrame(f["timeline"][:]))
            quantize, evaluate = f["timing"]["device_peak_bytes"]
            assert 0 < quantize < head <= evaluate, (quantize, evaluate)
    for line in lines:
        check_timeline(line, seconds)
        assert list(line["what"]).count(b"block 0") == list(line["what"]).count(b"head") == 1, line
    assert lines[0]["end_s"].max() <= lines[1]["start_s"].min(), lines


globals()[case]()
print(f"{case}: passed")
