#!/usr/bin/env python3
"""Recomputes with numpy and safetensors what sageptq reports: D from the exported weights, bits from the planes.

check_export.py SAGEPTQ MODEL WORK   exits 77 (skipped) where numpy or safetensors cannot be imported
"""
import json
import pathlib
import shutil
import subprocess
import sys

try:
    import numpy as np
    from safetensors import safe_open
except ImportError as error:
    print(f"SKIPPED: {error}; run `make fetch` once to make the project's Python environment")
    sys.exit(77)

program, model, work = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
shutil.rmtree(work, ignore_errors=True)
work.mkdir(parents=True)


def run(*arguments):
    result = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 0, f"{arguments}: exit {result.returncode}\n{result.stderr}"
    return result.stdout


def tensors(path):
    with safe_open(path, "np") as f:
        return {name: f.get_tensor(name) for name in f.keys()}


for method in ("sage_paper", "rtn"):
    packed, exported = work / f"{method}-packed", work / f"{method}-exported"
    run("run", method, "--model", model, "--until", "quantize", "-o", packed)
    run("export", packed, "--dequantized", "-o", exported, "--dtype", "F32")
    report = json.loads(run("inspect", packed, "--format", "json"))
    original, decoded, planes = (tensors(d / "model.safetensors") for d in (model, exported, packed))

    assert set(decoded) == set(original), "the export has other tensors than the model"
    for name, w in original.items():
        if not any(m["name"] == name for m in report["matrices"]):
            assert np.array_equal(w, decoded[name]), f"{name} was not to be touched"

    plane_bytes = 0
    for m in report["matrices"]:
        w, q = original[m["name"]].astype(np.float64), decoded[m["name"]].astype(np.float64)
        d = ((w - q) ** 2).sum() / (w**2).sum()
        assert abs(d - m["relative_error"]) <= 1e-6 * d, f"{m['name']}: D is {d}, reported {m['relative_error']}"
        assert 0 < d < 0.6
        stem = m["name"].removesuffix("weight")
        own = [t for n, t in planes.items() if n.startswith(stem) and n not in (m["name"], stem + "bias")]
        count = sum(t.nbytes for t in own)
        plane_bytes += count
        assert abs(8 * count / w.size - m["stored_bits"]) < 1e-9, m["name"]
        assert sum(m["roles"].values()) == count, m["name"]
        assert list(w.shape) == m["shape"]

    size = (packed / "model.safetensors").stat().st_size
    assert report["file_bytes"] == size
    assert sum(report["roles"].values()) == plane_bytes
    assert plane_bytes + report["unquantized_bytes"] + report["metadata_bytes"] == size
    print(f"{method}: {len(report['matrices'])} matrices, {report['paper_bits']:.3f} paper bits, {report['stored_bits']:.3f} stored bits: agree")

# Signs and groups of a SAGE matrix, decoded here from the documented format alone.
name = next(n for n in ("model.layers.0.mlp.up_proj", "model.decoder.layers.0.fc1") if n + ".weight" in tensors(model / "model.safetensors"))
header = json.loads(tensors(work / "sage_paper-packed" / "model.safetensors")[name + ".header"].tobytes())
stored = {n.rsplit(".", 1)[1]: t for n, t in tensors(work / "sage_paper-packed" / "model.safetensors").items() if n.startswith(name + ".")}
w = tensors(model / "model.safetensors")[name + ".weight"].astype(np.float64)
q = tensors(work / "sage_paper-exported" / "model.safetensors")[name + ".weight"]
rows, cols = w.shape
bits = max(1, int(np.ceil(np.log2(cols))))
counts = stored["salient_index"][: 2 * rows].view("<u2").astype(int)
stream = np.unpackbits(stored["salient_index"][2 * rows :], bitorder="little")
mask = np.zeros((rows, cols), bool)
at = 0
for i in range(rows):
    for _ in range(counts[i]):
        mask[i, int(stream[at : at + bits] @ (1 << np.arange(bits)))] = True
        at += bits
n = int((~mask).sum())
groups = header["p"].get("group_index", [0, 1, 0])[1]
width = int(np.ceil(np.log2(groups)))
ids = np.zeros(n, int)
if groups > 1:
    ids = np.unpackbits(stored["group_index"], bitorder="little")[: n * width].reshape(n, width) @ (1 << np.arange(width))
sign = np.unpackbits(stored["signs"], bitorder="little")[:n].astype(int)
expected = stored["binary_scales"].astype(np.float32)[ids] * np.where(sign == 1, -1, 1)
assert np.array_equal(q[~mask], expected.astype(np.float32)), "binarized weights differ from the documented format"
half = stored["salient_multibit_codes"]
b = 4
codes = np.unpackbits(half, bitorder="little")[: mask.sum() * b].reshape(-1, b) @ (1 << np.arange(b))
scale_of_row = np.zeros(rows, np.float32)
scale_of_row[counts > 0] = stored["salient_multibit_scales"].astype(np.float32)
value = scale_of_row[np.nonzero(mask)[0]] * ((codes % 8) + np.float32(0.5)) * np.where(codes >= 8, -1, 1)
assert np.allclose(q[mask], value, rtol=1e-6), "salient weights differ from the documented format"
print(f"{name}: {groups} groups, {mask.sum()} salient weights, decoded from the format's description")
