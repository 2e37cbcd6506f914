"""What a device and the host computed, read from the files they left: Grams in the cache, weights in packed folders."""
import array
import json
import math

from program import sageptq, work


def read_floats(path):
    """Metadata, and name -> (shape, values) of the FP32 tensors of a safetensors file."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, info in header.items():
        begin, end = info["data_offsets"]
        if info["dtype"] == "F32":
            tensors[name] = info["shape"], array.array("f", raw[8 + length + begin : 8 + length + end])
    return metadata, tensors


def grams_of(backend):
    """What the Gram is of (its key without the backend) -> its values, of all in the cache."""
    grams = {}
    for path in (work / "cache/grams").glob("*.gram"):
        metadata, tensors = read_floats(path)
        lines = metadata["key"].splitlines()
        if f"backend {backend}" in lines:
            ((_, values),) = tensors.values()
            grams[tuple(line for line in lines if line != f"backend {backend}")] = values
    return grams


def rows_that_differ(a, b):
    """How many rows of quantized matrices are not the same in two packed folders, and of how many.

    Stored numbers are FP16: one that is half-way between two of those moves its row by up to 1e-3 of its length, and is no other code."""
    weights = []
    for folder in (a, b):
        sageptq("export", folder, "--dequantized", "--dtype", "F32", "-o", f"{folder}-exported")
        weights.append({name: t for name, t in read_floats(work / f"{folder}-exported/model.safetensors")[1].items() if "_proj" in name})
    assert weights[0] and weights[0].keys() == weights[1].keys(), weights[0].keys()
    differ = rows = 0
    for name, ((count, width), values) in weights[0].items():
        other = weights[1][name][1]
        rows += count
        for r in range(count):
            one, two = values[r * width : (r + 1) * width], other[r * width : (r + 1) * width]
            differ += math.dist(one, two) > 2e-3 * math.hypot(*one)
    return differ, rows
