"""Draws the Pareto figure of a sample sweep. Usage: check_pareto.py TEST_PROGRAM (which writes the samples)."""
import csv
import pathlib
import subprocess
import sys

from other_reader import need, samples

need("h5py", "matplotlib")
SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "paper_figures"
sys.dont_write_bytecode = True
sys.path.insert(0, str(SCRIPTS))
import pareto  # noqa: E402


def call(*arguments):
    return subprocess.run([sys.executable, str(SCRIPTS / "pareto.py"), *map(str, arguments)], capture_output=True, text=True)


def main():
    with samples() as folder:
        done = call(folder / "sweep.json", "-o", folder / "p.png")
        assert done.returncode == 0, done.stderr
        assert (folder / "p.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        with open(folder / "p.csv", newline="", encoding="utf-8") as f:
            rows = list(csv.DictReader(f))
        assert [r["label"] for r in rows] == ["full precision", "rtn 4 bit", "sage_paper", "sage_honest"]  # not the failed one
        assert [float(r["perplexity"]) for r in rows] == [24.15, 42.7, 1234567.0, 32.5]
        assert [float(r["paper_bits"]) for r in rows] == [16, 4, 1.06, 2.0]
        assert [float(r["stored_bits"]) for r in rows] == [16, 4.03, 3.2, 2.25]
        assert rows[1]["windows"] == "4" and rows[0]["full_precision"] == "True"
        assert not list(folder.glob("*.part.*"))

        runs = pareto.read_runs([str(folder / "sweep.json")])
        assert [r["label"] for r in pareto.envelope(runs[1:])] == ["sage_honest"]
        caption = pareto.caption_of(runs)
        assert "SmolLM2-135M-Instruct (sha256 aaaaaaaaaaaa)" in caption and "dequantized 4-bit" in caption and "wikitext2-test" in caption

        # Runs that differ in their seeds alone are one, at their mean.
        seeded = [{**runs[1], "label": f"rtn, calibration.seed={i}, seed={i}", "seeds": (str(i), str(i)), "perplexity": 40.0 + 3 * i} for i in range(3)]
        other = {**seeded[0], "label": "rtn 3", "configuration": (("pipeline.quantizer.bits", "3"),)}
        merged = pareto.merge_seeds(runs[:1] + seeded + [other, {**seeded[0], "label": "again, seed=0"}])
        assert [(r["label"], r["runs"], r["perplexity"]) for r in merged] == [
            ("full precision", 1, 24.15), ("rtn", 3, 43.0), ("rtn 3", 1, 40.0), ("again, seed=0", 1, 40.0)], merged
        assert merged[1]["range"] == (40.0, 46.0) and "several seeds" in pareto.caption_of(merged)
        assert "several seeds" not in caption

        # Twenty runs in a corner: no label may cover another.
        crowd = [{**runs[1], "label": f"method {i} with group {128 << (i % 3)}", "perplexity": 30 + 1.7 * i, "stored_bits": 2 + 0.11 * (i % 7),
                  "paper_bits": 1.1 + 0.1 * (i % 5)} for i in range(20)]
        boxes, _ = pareto.draw(runs[:1] + crowd, str(folder / "crowd.png"))
        assert len(boxes) == 20
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                assert not a.overlaps(b)

        (folder / "junk.h5").write_text("junk")
        for bad in ("junk.h5", "absent.h5", "absent.json"):
            done = call(folder / bad, "-o", folder / "q.png")
            assert done.returncode == 3 and bad in done.stderr and "Traceback" not in done.stderr, done.stderr
            assert not (folder / "q.png").exists()
    print("ok")


main()
