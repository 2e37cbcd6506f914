"""The program as the end-to-end cases call it: CASE SAGEPTQ SOURCE WORK on the command line, a cache and a store of their own."""
import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys

case, program, source, work = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), pathlib.Path(sys.argv[4])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)
environment = dict(os.environ, SAGEPTQ_CACHE=str(work / "cache"), SAGEPTQ_STORE=str(work / "store"), OMP_WAIT_POLICY="passive")
environment.pop("SAGEPTQ_DATA", None)

SCORE = ["--text", "text.txt", "--protocol", "gptq-64", "--windows", 3]


def sageptq(*arguments, expect=0, env=environment, **options):
    command = [program, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=work, timeout=280, **options)
    assert result.returncode == expect, f"{command}\nexit {result.returncode}, expected {expect}\nstdout: {result.stdout}\nstderr: {result.stderr}"
    return result


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_text(name, seed=1, lines=60):
    words = "the of and a in to is was for on as with by that it from at his an were are which this also be has or had its one".split()
    rng = random.Random(seed)
    (work / name).parent.mkdir(parents=True, exist_ok=True)
    (work / name).write_text("\n".join(" ".join(rng.choice(words) for _ in range(30)) for _ in range(lines)) + "\n")


def toy_model(layers=2, shape="toy", tokenizer="gpt2"):
    """A model with random weights, a real tokenizer and a text."""
    model = work / ("model" if shape == "toy" else shape)
    sageptq("synth", "--shape", shape, "--layers", layers, "-o", model)
    shutil.copy(source / f"tests/data/tokenizer/{tokenizer}/tokenizer.json", model / "tokenizer.json")
    write_text("text.txt")
    return model


def readers():
    try:
        import h5py
        import pandas
    except ImportError as error:
        print(f"SKIPPED: {error}; `make fetch` makes the project's Python environment")
        sys.exit(77)
    return h5py, pandas
