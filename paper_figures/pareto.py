#!/usr/bin/env python3
"""Perplexity against bits per weight: the size a method claims, and the size it stores.

Every run is an arrow from its paper bits to the bits its file really takes; runs without a gap are dots. Runs that differ in
nothing but their seeds are one arrow at their mean. Dots of the lower envelope of (stored bits, perplexity) are joined: no other
run is both smaller and better. Full precision is a dashed line.

    pareto.py quickstart/sweep.json -o pareto.png        # writes pareto.png and pareto.csv
    pareto.py a.h5 b.h5 -o pareto.pdf
"""
import argparse
import csv
import json
import math
import os
import sys
import textwrap

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # run files never change; network disks may refuse locks
import h5py
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

CLAIMED, STORED, ENVELOPE, INK = "#9aa3ad", "#b5342c", "#b5342c", "#22262b"
NO_GAP = 0.02  # bits; below this an arrow would be a smudge
SEEDS = ("seed", "calibration.seed")
NAMING = ("name", "label", "about")  # what a configuration is called decides no number


def fail(message, code=3):
    sys.stderr.write(f"pareto.py: {message}\n")
    sys.exit(code)


def text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def read_run(path, label=None):
    """What the figure needs of one run file, or None for a failed run or one without perplexity."""
    try:
        with h5py.File(path, "r") as f:
            if text(f.attrs["status"]) != "complete":
                return None
            metric = next((m for m in f["metrics"][:] if text(m["metric"]) == "perplexity"), None)
            if metric is None:
                return None
            storage, provenance = f["storage"].attrs, f["provenance"].attrs
            quantized, linear = (int(storage.get(k, 0)) for k in ("quantized_matrices", "linear_matrices"))  # absent before schema 2
            partly = quantized < linear and not f.attrs["full_precision"]
            config = {text(c["path"]): text(c["value"]) for c in f["config/flat"][:]}
            return {
                "seeds": tuple(config.get(s, "") for s in SEEDS),
                "configuration": tuple(sorted((k, v) for k, v in config.items() if k not in SEEDS + NAMING)),
                "label": label or text(f.attrs["label"]),
                "run_key": text(f.attrs["run_key"]),
                "full_precision": bool(f.attrs["full_precision"]),
                "numerics": text(f.attrs["numerics"]),
                "perplexity": float(metric["value"]),
                "stderr": float(metric["stderr"]),
                "windows": int(metric["n"]),
                "protocol": text(metric["protocol"]) or text(metric["task"]),
                "paper_bits": float(storage["paper_bits"]),
                "stored_bits": float(storage["stored_bits"]),
                "whole_model_bits": float(storage["whole_model_bits"]),
                "matrices_quantized": f"{quantized} of {linear}" if partly else "",
                "model": text(provenance["model_name"]) or text(provenance["model_path"]),
                "model_digest": text(provenance["model_digest"]),
                "model_note": text(provenance["model_note"]),
                "text": text(provenance["text_name"]),
                "text_digest": text(provenance["text_digest"]),
            }
    except (OSError, KeyError, ValueError) as e:
        fail(f"{path}: cannot be read as a run file ({e}); expected one written by sageptq; check the path")


def read_runs(paths):
    runs = []
    for path in paths:
        if not path.endswith(".json"):
            runs.append(read_run(path))
            continue
        try:
            with open(path, encoding="utf-8") as f:
                points = [(p.get("label"), p["run_file"]) for p in json.load(f)["points"] if p.get("run_file")]
        except (OSError, ValueError, KeyError, TypeError) as e:
            fail(f"{path}: is not a sweep manifest ({e}); expected points with label and run_file; run the sweep again")
        for label, name in points:
            file = os.path.join(os.path.dirname(path), name)
            if os.path.exists(file):  # failed and missing points are the report's business
                runs.append(read_run(file, label))
    return [r for r in runs if r is not None and math.isfinite(r["perplexity"]) and r["perplexity"] > 0]


def without_seeds(label):
    parts = label.split(", ")
    return ", ".join(p for i, p in enumerate(parts) if i == 0 or not p.split("=")[0].endswith("seed"))


def merge_seeds(runs):
    """Runs that differ in nothing but their seeds become one, at the place of the first: their mean, and their range."""
    groups = {}
    for i, r in enumerate(runs):
        key = (r["configuration"], r["model_digest"], r["text_digest"], r["protocol"], r["full_precision"])
        members = groups.setdefault(key if any(r["seeds"]) else i, [])
        if any(m["seeds"] == r["seeds"] for m in members):
            groups[i] = [r]
        else:
            members.append(r)
    out = []
    for members in groups.values():
        r = dict(members[0])
        if len(members) > 1:
            r["label"], r["run_key"] = without_seeds(r["label"]), ""
            for k in ("perplexity", "paper_bits", "stored_bits", "whole_model_bits"):
                r[k] = sum(m[k] for m in members) / len(members)
            r["stderr"] = math.nan
            values = [m["perplexity"] for m in members]
            r["range"] = (min(values), max(values))
        out.append({**r, "runs": len(members)})
    return out


def envelope(runs):
    """Runs that no other beats in stored bits and perplexity at once, by size."""
    best, out = math.inf, []
    for r in sorted(runs, key=lambda r: (r["stored_bits"], r["perplexity"])):
        if r["perplexity"] < best:
            best = r["perplexity"]
            out.append(r)
    return out


def place_labels(ax, runs, obstacles):
    """Puts each label near its stored point where it overlaps neither a label nor a mark; far ones get a thin leader line."""
    ax.figure.canvas.draw()
    frame = ax.get_window_extent().padded(-2)
    pixels = ax.figure.dpi / 72  # per point
    taken, boxes = list(obstacles), []
    # The crowded middle first would starve the edges: from the top down the neighbours below are still free.
    for r in sorted(runs, key=lambda r: -r["perplexity"]):
        label = ax.annotate(r["label"], (r["stored_bits"], r["perplexity"]), textcoords="offset points", xytext=(0, 0), fontsize=7.5, color=INK,
                            zorder=6)
        size = label.get_window_extent()
        x, y = ax.transData.transform((r["stored_bits"], r["perplexity"]))
        best = None
        for distance in (8, 14, 22, 32, 44, 58, 74, 92, 112, 134, 158):
            for angle in (0, 14, -14, 25, -25, 50, -50, 90, -90, 130, -130, 155, -155, 180):
                dx, dy = distance * math.cos(math.radians(angle)), distance * math.sin(math.radians(angle))
                ha = "left" if dx > 1 else "right" if dx < -1 else "center"
                va = "bottom" if dy > 1 else "top" if dy < -1 else "center"
                x0 = x + dx * pixels - size.width * {"left": 0, "center": 0.5, "right": 1}[ha]
                y0 = y + dy * pixels - size.height * {"bottom": 0, "center": 0.5, "top": 1}[va]
                box = Bbox.from_bounds(x0, y0, size.width, size.height)
                inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
                hits = sum(box.padded(1.5).overlaps(o) for o in taken)
                cost = hits * 1000 + (0 if inside else 5000) + distance + abs(angle) / 20
                if best is None or cost < best[0]:
                    best = (cost, (dx, dy), ha, va, distance)
            if best[0] < 1000:
                break
        _, offset, ha, va, distance = best
        label.set(position=offset, ha=ha, va=va)
        box = label.get_window_extent()
        taken.append(box)
        boxes.append(box)
        if distance > 14:
            near = (min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1))
            (ax0, ay0), (ax1, ay1) = ax.transData.inverted().transform([(x, y), near])
            ax.plot([ax0, ax1], [ay0, ay1], color="#c5cbd1", lw=0.6, zorder=1)
    return boxes


def arrow_boxes(ax, runs):
    """Small boxes along every arrow and around every mark, in pixels, for labels to keep away from."""
    out = []
    for r in runs:
        x1, y = ax.transData.transform((r["stored_bits"], r["perplexity"]))
        out.append(Bbox.from_extents(x1 - 5, y - 5, x1 + 5, y + 5))
        if math.isfinite(r["paper_bits"]):
            x0, _ = ax.transData.transform((r["paper_bits"], r["perplexity"]))
            out.append(Bbox.from_extents(min(x0, x1) - 3, y - 2, max(x0, x1) + 3, y + 2))
    return out


def line_boxes(ax, lines, front):
    """The same along the dashed lines and the envelope."""
    out = []
    x0, x1 = ax.get_window_extent().x0, ax.get_window_extent().x1
    for r in lines:
        y = ax.transData.transform((0, r["perplexity"]))[1]
        out.append(Bbox.from_extents(x0, y - 2, x1, y + 2))
    at = [ax.transData.transform((r["stored_bits"], r["perplexity"])) for r in front]
    for (ax0, ay0), (ax1, ay1) in zip(at, at[1:]):
        steps = max(1, int(math.hypot(ax1 - ax0, ay1 - ay0) / 6))
        for i in range(steps + 1):
            x, y = ax0 + (ax1 - ax0) * i / steps, ay0 + (ay1 - ay0) * i / steps
            out.append(Bbox.from_extents(x - 2, y - 2, x + 2, y + 2))
    return out


def plain_ticks(low, high):
    """Powers of ten with 2 and 5 between them while they are few, and every second or third power where there are many."""
    out = [m * 10.0 ** e for e in range(-1, 40) for m in (1, 2, 5) if low <= m * 10.0 ** e <= high]
    if len(out) > 9:
        out = [t for t in out if abs(math.log10(t) - round(math.log10(t))) < 1e-9]
    out = out[::max(1, -(-len(out) // 9))]
    if len(out) < 3:
        out = [m * 10.0 ** e for e in range(-1, 40) for m in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8) if low <= m * 10.0 ** e <= high]
    return out


def tick_text(v):
    if v < 1e4:
        return f"{v:g}"
    mantissa = v / 10 ** math.floor(math.log10(v) + 1e-9)
    power = f"10^{{{math.floor(math.log10(v) + 1e-9)}}}"
    return f"${power}$" if abs(mantissa - 1) < 1e-6 else f"${mantissa:g}\\times{power}$"


def draw(runs, output, title=None):
    points = [r for r in runs if not r["full_precision"] and math.isfinite(r["stored_bits"])]
    lines = [r for r in runs if r["full_precision"]]
    if not points:
        fail("no complete quantized run with a perplexity among the files; expected at least one; run the sweep first")
    plt.rcParams.update({"font.size": 9, "font.family": "DejaVu Sans", "axes.linewidth": 0.7, "svg.fonttype": "none", "pdf.fonttype": 42})
    figure, ax = plt.subplots(figsize=(7.2, 4.9), dpi=200)
    ax.set_yscale("log")

    bits = [v for r in points for v in (r["paper_bits"], r["stored_bits"]) if math.isfinite(v)]
    ppl = [r["perplexity"] for r in points + lines]
    spread = max(max(bits) - min(bits), 0.5)
    ax.set_xlim(max(0, min(bits) - 0.08 * spread), max(bits) + 0.30 * spread)  # labels stand to the right of their points
    decades = max(math.log10(max(ppl) / min(ppl)), 0.2)
    ax.set_ylim(min(ppl) * 10 ** (-0.10 * decades), max(ppl) * 10 ** (0.08 * decades))
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(FixedLocator(plain_ticks(low, high)))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: tick_text(v)))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.grid(True, which="major", color="#eceff1", lw=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)

    line_labels = []
    for r in lines:
        ax.axhline(r["perplexity"], color=INK, lw=0.9, ls=(0, (5, 3)), zorder=2)
        line_labels.append(ax.annotate(f"{r['label']}: {r['perplexity']:.2f}", (0, r["perplexity"]), (3, -3), xycoords=("axes fraction", "data"),
                                       textcoords="offset points", ha="left", va="top", fontsize=7.5, color=INK))
    for r in points:
        if math.isfinite(r["paper_bits"]) and abs(r["stored_bits"] - r["paper_bits"]) > NO_GAP:
            ax.annotate("", (r["stored_bits"], r["perplexity"]), (r["paper_bits"], r["perplexity"]), zorder=3,
                        arrowprops={"arrowstyle": "-|>,head_width=0.18,head_length=0.45", "color": CLAIMED, "lw": 1.1, "shrinkA": 3, "shrinkB": 3})
            ax.plot(r["paper_bits"], r["perplexity"], "o", ms=5, mfc="white", mec=CLAIMED, mew=1.1, zorder=4)
        ax.plot(r["stored_bits"], r["perplexity"], "o", ms=5, color=STORED, mec="white", mew=0.6, zorder=5)
        if "range" in r:
            ax.plot([r["stored_bits"]] * 2, r["range"], color=STORED, lw=0.8, zorder=4)
        elif math.isfinite(r["stderr"]):
            # Perplexity is exp(mean NLL): one standard error of the mean is a factor, and no bar reaches zero.
            factor = math.exp(r["stderr"] / r["perplexity"])
            ax.plot([r["stored_bits"]] * 2, [r["perplexity"] / factor, r["perplexity"] * factor], color=STORED, lw=0.8, zorder=4)
    front = envelope(points)
    ax.plot([r["stored_bits"] for r in front], [r["perplexity"] for r in front], color=ENVELOPE, lw=0.9, alpha=0.35, zorder=2)

    ax.set_xlabel("bits per weight of the linear layers")
    ax.set_ylabel("perplexity (log scale)")
    ax.plot([], [], "o", ms=5, mfc="white", mec=CLAIMED, mew=1.1, label="claimed: the paper's formula")
    ax.plot([], [], "o", ms=5, color=STORED, mec="white", mew=0.6, label="stored: bytes of the file")
    ax.plot([], [], color=ENVELOPE, lw=0.9, alpha=0.35, label="best stored")
    legend = figure.legend(loc="upper left", bbox_to_anchor=(0.1, 0.985), ncols=3, frameon=False, fontsize=8, handletextpad=0.5, columnspacing=1.6)
    if title:
        ax.set_title(title, loc="left", fontsize=10, pad=22)
    caption = textwrap.fill(caption_of(runs), 122)
    figure.text(0.105, 0.012, caption, fontsize=6.8, color="#59616a", va="bottom", linespacing=1.35)
    bottom = 0.135 + 0.028 * caption.count("\n") + 0.01
    figure.subplots_adjust(left=0.105, right=0.985, top=0.925, bottom=bottom)
    figure.canvas.draw()
    obstacles = [t.get_window_extent() for t in line_labels] + line_boxes(ax, lines, front) + arrow_boxes(ax, points)
    boxes = place_labels(ax, points, obstacles)
    part = f"{output}.part.{os.getpid()}{os.path.splitext(output)[1]}"  # matplotlib chooses the format by the ending
    try:
        figure.savefig(part)
        os.replace(part, output)
    except (OSError, ValueError) as e:
        if os.path.exists(part):
            os.remove(part)
        fail(f"{output}: cannot be written ({e}); expected a writable folder and an ending such as .png or .pdf; choose another -o")
    plt.close(figure)
    return boxes, legend


def caption_of(runs):
    def said(of):
        return " and ".join(dict.fromkeys(of(r) for r in runs if of(r)))
    digest = lambda name, key: lambda r: f"{r[name]} (sha256 {r[key][:12]})" if r[key] else r[name]
    out = f"Model: {said(digest('model', 'model_digest'))}. "
    notes = said(lambda r: r["model_note"].rstrip("."))
    if notes:
        out += f"Note: {notes}. "
    out += f"Text: {said(digest('text', 'text_digest'))}. Protocol: {said(lambda r: r['protocol'] + ', ' + str(r['windows']) + ' windows')}."
    if any(math.isfinite(r["stderr"]) for r in runs if not r["full_precision"]):
        out += " Vertical bars: one standard error over windows."
    if any("range" in r for r in runs):
        out += " With several seeds: their mean, and a bar from the least to the greatest."
    if any(r["numerics"] == "reference" for r in runs):
        out += " Labels with † were decoded with FP32 parameters (numerics: reference)."
    return out


COLUMNS = ["label", "runs", "perplexity", "stderr", "windows", "paper_bits", "stored_bits", "whole_model_bits", "matrices_quantized", "full_precision", "numerics", "model",
           "model_digest", "text", "text_digest", "protocol", "run_key"]


def write_csv(runs, path):
    part = f"{path}.part.{os.getpid()}"
    with open(part, "w", newline="", encoding="utf-8") as f:
        w = csv.DictWriter(f, COLUMNS, extrasaction="ignore")
        w.writeheader()
        for r in runs:
            w.writerow({k: "" if isinstance(r[k], float) and math.isnan(r[k]) else r[k] for k in COLUMNS})
    os.replace(part, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run files (.h5) or sweep manifests (.json)")
    parser.add_argument("-o", "--output", default="pareto.png", help="picture; its ending chooses the format (.png, .pdf, .svg)")
    parser.add_argument("--title", help="heading (papers put it in the caption)")
    arguments = parser.parse_args()
    runs = merge_seeds(read_runs(arguments.runs))
    for r in runs:
        if r["numerics"] == "reference":
            r["label"] += "†"
        if r["matrices_quantized"]:
            r["label"] += f" ({r['matrices_quantized']} matrices)"
    if not runs:
        fail("no complete run with a perplexity among the files; expected at least one; run the sweep first")
    draw(runs, arguments.output, arguments.title)
    write_csv(runs, os.path.splitext(arguments.output)[0] + ".csv")
    print(arguments.output)


if __name__ == "__main__":
    main()
