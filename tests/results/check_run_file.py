"""Reads a run file the way a Python user does. Usage: check_run_file.py TEST_PROGRAM (which writes the samples)."""
import math

from other_reader import need, samples

h5py, pd = need("h5py", "pandas")


def main():
    with samples() as folder, h5py.File(folder / "sample.h5", "r") as f:
        a = f.attrs
        assert a["schema_version"] == 2 and a["resumed"] == 1 and a["status"] == b"complete" and a["complete"] == 1
        assert a["run_key"].decode() == "ab12cd34" + "0" * 55 + "7"
        assert a["label"].decode() == "grouping=spectral(4) é"
        assert a["numerics"] == b"reference"
        assert f["config/source"][()].decode().startswith("name: x\n# a comment, ü")
        assert f["config/resolved"][()].decode() == '{"name":"x","pipeline":{"saliency":{"type":"sigma"}}}'
        flat = pd.DataFrame(f["config/flat"][:])
        assert list(flat.columns) == ["path", "value", "origin"] and flat["value"][2] == b"1e-05"

        m = pd.DataFrame(f["matrices"][:])
        assert list(m.columns) == ["layer", "name", "rows", "cols", "groups", "salient_ratio", "paper_bits", "stored_bits", "D", "gram_loss",
                                   "percdamp", "damping_retries", "dead_columns", "threshold_cut", "excess_stored", "excess_paper", "seconds", "choice"]
        assert m.shape[0] == 2 and list(m["name"].str.decode("utf-8")) == ["layers.0.q_proj", "layers.1.down_proj"]
        assert list(m["D"]) == [0.11, 0.12] and list(m["cols"]) == [576, 1536]
        assert math.isnan(m["gram_loss"][0]) and m["gram_loss"][1] == 0.2
        assert list(m.loc[1, ["percdamp", "damping_retries", "dead_columns", "threshold_cut"]]) == [0.1, 1, 3, 0.04]
        # The audit's formula, by numpy's hand.
        for kind in ("stored", "paper"):
            for bits, d, excess in zip(m[f"{kind}_bits"], m["D"], m[f"excess_{kind}"]):
                assert abs(bits - 0.5 * math.log2(1 / d) - excess) < 1e-12

        metrics = pd.DataFrame(f["metrics"][:])
        assert list(metrics.columns) == ["task", "metric", "value", "stderr", "n", "protocol", "text_digest"]
        assert metrics["value"][0] == 32.5 and metrics["stderr"][0] == 0.25 and metrics["n"][0] == 4
        roles = pd.DataFrame(f["storage/by_role"][:])
        assert list(roles["bytes"]) == [13271040, 1000, 2**40]
        s = f["storage"].attrs
        assert s["linear_weights"] == 106168320 and s["stored_bits"] == 2.25 and s["paper_bits"] == 1.06 and s["file_bytes"] == 90000001
        assert (s["quantized_weights"], s["linear_matrices"], s["quantized_matrices"], s["left_out_bytes"]) == (100000000, 210, 199, 12336640)
        p = f["provenance"].attrs
        assert p["commit"] == b"0123456789abcdef0123456789abcdef01234567" and p["dirty"] == 1 and p["threads"] == 2
        assert list(f["provenance/argv"]["argument"]) == [b"sageptq", b"run", b"a b", b"--set", b'x="y"']
        timing = pd.DataFrame(f["timing"][:])
        assert timing["seconds"].sum() == 42.75 and timing["peak_bytes"].max() == 3 << 29
        assert list(timing["device_peak_bytes"]) == [5 << 29, 0]
        timeline = pd.DataFrame(f["timeline"][:])
        assert list(timeline.columns) == ["stream", "what", "start_s", "end_s"]
        assert list(timeline["what"]) == [b"576 x 1536", b"block 0"] and list(timeline["end_s"]) == [0.5, 1.75]

        nll = f["eval/gptq-2048/nll"][:]
        assert nll.dtype == "float64" and list(nll) == [3.5, 3.25, 3.75, 3.4]
        assert list(f["eval"]["odd%2Fname%252F"]["nll"]) == [1.0]
        assert f["trace/layers.0.q_proj/affinity"].shape == (2, 3)

        failed = [p for p in folder.glob("*.failed.h5")]
        assert len(failed) == 1
        with h5py.File(failed[0], "r") as g:
            assert g.attrs["status"] == b"failed" and g["failure"].attrs["exit_code"] == 1
            assert b"Gram not positive definite" in g["failure"].attrs["message"]
        # The seal: the digest in the first 512 bytes is that of the rest.
        import hashlib
        raw = (folder / "sample.h5").read_bytes()
        assert f.userblock_size == 512
        assert raw[:512].split(b"sha256 ")[1][:64].decode() == hashlib.sha256(raw[512:]).hexdigest()
    print("ok")


main()
