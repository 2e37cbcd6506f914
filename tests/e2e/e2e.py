#!/usr/bin/env python3
"""One end-to-end case: e2e.py CASE SAGEPTQ SOURCE WORK. Exit 0 passed, 77 skipped, anything else failed."""
import hashlib
import json
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

case, program, source, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
environment = dict(os.environ, SAGEPTQ_CACHE=str(work / "cache"), SAGEPTQ_STORE=str(work / "store"), OMP_WAIT_POLICY="passive")
environment.pop("SAGEPTQ_DATA", None)


def sageptq(*arguments, expect=0, **options):
    command = [program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=work, timeout=280, **options)
    assert result.returncode == expect, f"{command}\nexit {result.returncode}, expected {expect}\nstdout: {result.stdout}\nstderr: {result.stderr}"
    return result


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def toy_model(layers=2, shape="toy", tokenizer="gpt2"):
    """A model with random weights, a real tokenizer and a text."""
    model = work / ("model" if shape == "toy" else shape)
    sageptq("synth", "--shape", shape, "--layers", layers, "-o", model)
    shutil.copy(source / f"tests/data/tokenizer/{tokenizer}/tokenizer.json", model / "tokenizer.json")
    words = "the of and a in to is was for on as with by that it from at his an were are which this also be has or had its one".split()
    rng = random.Random(1)
    (work / "text.txt").write_text("\n".join(" ".join(rng.choice(words) for _ in range(30)) for _ in range(60)) + "\n")
    return model


SCORE = ["--text", "text.txt", "--protocol", "gptq-64", "--windows", 3]


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
        assert r.returncode in (0, 1, 3), (r.returncode, r.stderr)
        assert r.returncode == 0 or r.stderr.startswith("sageptq: "), r.stderr


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


def readers():
    try:
        import h5py
        import pandas
    except ImportError as error:
        print(f"SKIPPED: {error}; `make fetch` makes the project's Python environment")
        sys.exit(77)
    return h5py, pandas


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


def device():
    """The CUDA backend, its kernels executed on the CPU, gives the files and the perplexity of `cpu`."""
    model = toy_model()
    score = ["--text", "text.txt", "--protocol", "gptq-64", "--windows", 2, "--format", "json"]
    calibrated = ["--set", "calibration.samples=2", "--set", "calibration.length_tokens=32", "--set", f"calibration.dataset={work}/text.txt"]
    for method, options in (("sage_paper", []), ("rtn", []), ("gptq", calibrated), ("billm_released", calibrated), ("pb_llm_g128", calibrated)):
        rows = {}
        for where in ("cpu", "cuda_on_cpu"):
            out = sageptq("run", method, "--model", model, *score, *options, "--device", where, "-o", f"{method}-{where}")
            row = json.loads(out.stdout)
            rows[where] = row["rows"][0] if isinstance(row, dict) else row[0]
        if not options:  # Grams differ in their last bits, and a weight half-way between two codes with them
            assert digest(work / f"{method}-cpu/model.safetensors") == digest(work / f"{method}-cuda_on_cpu/model.safetensors"), method
        a, b = (float(str(rows[w]["perplexity"]).split()[0]) for w in ("cpu", "cuda_on_cpu"))
        assert abs(a - b) <= 1e-4 * a, (method, a, b)
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


def device_record():
    """What a run's record says of the device: its memory, stage by stage, and what ran when."""
    h5py, pandas = readers()
    model = toy_model()
    weights, head, states = 4 * 160 * 64, 4 * 2048 * 64, 4 * 3 * 64 * 64  # bytes: of the largest matrix, the head, three windows

    def record(*arguments):
        """timing by stage and timeline (None: there is none) of a run, its device's memory, and how long the command took."""
        before, started = set((work / "store").rglob("*.h5")), time.monotonic()
        sageptq("run", *arguments, "--model", model, *SCORE)
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
