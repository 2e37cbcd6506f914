#!/usr/bin/env python3
"""End-to-end cases about output paths, the store and signals: stores.py CASE SAGEPTQ SOURCE WORK, exit codes as of e2e.py."""
import atexit
import csv
import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
from program import SCORE, case, digest, environment, program, readers, sageptq, source, toy_model, work, write_text


def start(*arguments, env=environment):
    process = subprocess.Popen([program, *map(str, arguments)], env=env, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    atexit.register(process.kill)  # a case that fails leaves nobody standing still
    return process


def wait_until(what, seconds=120):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def rows(result):
    table = json.loads(result.stdout)
    return table["rows"] if isinstance(table, dict) else table


def records():
    return {p.name: digest(p) for p in (work / "store").rglob("*.h5")}


def tree():
    return sorted(str(p) for p in work.rglob("*") if not str(p).startswith(str(work / "cache")))


def outputs():
    model = toy_model()
    run = ["run", "rtn", "--model", model, *SCORE]

    def bits(n):
        return [*run, "--set", f"quantizer.bits={n}"]

    # OUT holds this run's weights when the exit code is 0, stored before or not.
    sageptq(*bits(4), "-o", "four")
    stored = rows(sageptq(*bits(2), "--format", "json"))[0]
    before, records_before = digest(work / "four/model.safetensors"), records()
    for refused in (sageptq(*bits(2), "-o", "four", expect=2), sageptq(*bits(3), "-o", "four", expect=2)):
        assert "four: exists and holds something else" in refused.stderr, refused.stderr
        assert "quantize:" not in refused.stderr and "evaluate:" not in refused.stderr and not refused.stdout, refused.stderr
    assert digest(work / "four/model.safetensors") == before and not list(work.glob("four.*"))
    again = rows(sageptq(*bits(2), "-o", "two/", "--format", "json"))[0]
    assert again == stored and not list(work.glob("two.*"))
    scored = json.loads(sageptq("eval", "--model", "two", *SCORE, "--format", "json").stdout)
    assert abs(scored["perplexity"] - stored["perplexity"]) < 1e-9 * scored["perplexity"], (scored, stored)
    sageptq(*bits(2), "-o", "./two//")
    assert records() == records_before, "a stored record was written again"
    shutil.rmtree(work / "two/model.safetensors", ignore_errors=True)
    (work / "two/model.safetensors").unlink()
    sageptq(*bits(2), "-o", "two", expect=3)  # it says what it is, and is not

    # As typed by people and completion.
    sageptq(*bits(3), "-o", "three/")
    sageptq(*bits(5), "-o", "a//b/")
    sageptq(*run, "--until", "quantize", "-o", "c/d/")
    for folder in ("three", "a/b", "c/d"):
        assert (work / folder / "config.json").exists(), folder
    sageptq("export", "three/", "--dequantized", "-o", "exported/")
    sageptq("synth", "--shape", "toy", "-o", "new-model/")
    assert (work / "exported/config.json").exists() and (work / "new-model/config.json").exists()

    # Refused before any work, nothing left behind.
    (work / "empty").mkdir()
    (work / "dangling").symlink_to(work / "nowhere")
    (work / "full.yaml").write_text("name: full\npipeline: none\neval: [{protocol: gptq-64, text: text.txt, windows: 2}]\n")
    (work / "sweep.yaml").write_text("name: one\nextends: rtn\neval: []\nsweep: {grid: {seed: [0]}}\n")
    (work / "other").mkdir()
    (work / "other/sweep.json").write_text('{"name": "another", "points": []}')
    tensor = "model.layers.0.mlp.up_proj.weight"
    file = model / "model.safetensors"
    matrix = ["matrix", "--input", f"{file}:{tensor}", "--method", "rtn"]
    here = tree()
    for command in (bits(6), [*bits(7), "--until", "quantize"], bits(2), ["export", "three", "--dequantized"], ["synth", "--shape", "toy"]):
        for out, code in (("", 2), ("text.txt", 2), ("text.txt/", 2), ("text.txt/x", 3), ("empty", 2), ("empty/", 2), ("dangling", 2), ("four", 2), ("store", 2), (work / "store/x", 2)):
            if command[0] == "synth" and "store/" in str(out):
                continue
            refused = sageptq(*command, "-o", out, expect=code)
            assert tree() == here and "quantize:" not in refused.stderr, (command, out, refused.stderr)
    for command, out, code in ((["run", "full.yaml", "--model", model], "x", 2), (["sweep", "sweep.yaml", "--model", model], "", 2), (["sweep", "sweep.yaml", "--model", model], "text.txt", 2),
                               (["sweep", "sweep.yaml", "--model", model], "store/runs", 2), (["sweep", "sweep.yaml", "--model", model], "other", 2),
                               (matrix, "", 2), (matrix, "empty", 2), (matrix, file, 2), (matrix, "store/x.h5", 2), (["report"], "", 2), (["report"], "empty", 2),
                               (["report"], "new/", 2), (["report"], "store/table.md", 2), (["report"], "text.txt/x", 3)):
        refused = sageptq(*command, "-o", out, expect=code)
        assert tree() == here and not refused.stdout, (command, out, refused.stderr)


SWEEP = "name: small\nextends: rtn\neval: [{protocol: gptq-64, text: text.txt, windows: 3, kl: true}]\nsweep: {grid: {pipeline.quantizer.bits: [2, 3, 4, 5, 6, 7]}}\n"
POINT = SWEEP.split("sweep:")[0]  # of which each point is one


def two_sweeps():
    model = toy_model(layers=20)
    (work / "sweep.yaml").write_text(SWEEP)
    (work / "others.yaml").write_text(SWEEP.replace("[2, 3", "[8, 3"))
    (work / "point.yaml").write_text(POINT)
    sweep = ["sweep", "sweep.yaml", "--model", model]
    both = [start(*sweep), start(*sweep)]
    said = [p.communicate(timeout=250)[1] for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    counts = [tuple(map(int, re.search(r"(\d+) run, (\d+) stored before, (\d+) failed", text).groups())) for text in said]
    assert counts[0][0] + counts[1][0] == 6 and all(run + stored == 6 and failed == 0 for run, stored, failed in counts), said
    assert not list(work.rglob("*.failed.h5")) and not list(work.rglob("*.part.*"))
    manifest = json.loads((work / "store/sweeps/small.json").read_text())
    assert len(manifest["points"]) == 6 and all((work / "store/sweeps" / p["run_file"]).exists() for p in manifest["points"])

    # A point in the hands of a process that stands still, and then dies unreaped.
    shutil.rmtree(work / "store")
    pending = work / "store/pending"
    holder = start("run", "point.yaml", "--model", model, "--set", "quantizer.bits=4")
    wait_until(lambda: list(pending.glob("*/claim.0")))
    holder.send_signal(signal.SIGSTOP)
    busy = sageptq("run", "point.yaml", "--model", model, "--set", "quantizer.bits=4", expect=75)
    assert f"process {holder.pid} on " in busy.stderr and "to go on: " in busy.stderr, busy.stderr
    left = sageptq(*sweep, "--no-wait", expect=75)
    assert "1 points are in the hands of other processes" in left.stderr and shlex.join([program, *map(str, sweep), "--no-wait"]) in left.stderr, left.stderr
    assert "5 run, 0 stored before, 0 failed" in left.stderr, left.stderr
    waiting = start(*sweep)
    lines = []
    while not (lines and "waiting for points other processes work on" in lines[-1]):
        lines.append(waiting.stderr.readline())
        assert lines[-1], lines
    # Meanwhile nobody writes another list under this name.
    other = sageptq("sweep", "others.yaml", "--model", model, expect=2)
    assert "'small': another process runs other points under this name" in other.stderr, other.stderr
    assert len(json.loads((work / "store/sweeps/small.json").read_text())["points"]) == 6
    holder.kill()  # and nobody asks how it ended: a zombie
    rest = waiting.communicate(timeout=120)[1]
    assert waiting.returncode == 0 and "1 run, 5 stored before, 0 failed" in rest, (waiting.returncode, rest)
    holder.wait()
    sageptq("sweep", "others.yaml", "--model", model)

    # What is missing for one point is missing for all: no failures are recorded for it.
    shutil.rmtree(work / "store")
    (work / "store").mkdir()
    (work / "store/pending").write_text("in the way")
    stopped = sageptq(*sweep, expect=3)
    assert not list(work.rglob("*.failed.h5")) and stopped.stderr.count("pending") == 1, stopped.stderr


def names():
    """report NAME, from the first minute of a sweep."""
    model = toy_model(layers=20)
    (work / "sweep.yaml").write_text(SWEEP)
    sweep = start("sweep", "sweep.yaml", "--model", model)
    wait_until(lambda: list((work / "store/pending").glob("*/claim.0")))
    sweep.send_signal(signal.SIGSTOP)
    done = len(list((work / "store").rglob("*.h5")))
    for form in ("table", "md", "latex"):
        text = sageptq("report", "small", "--format", form).stdout
        assert text.count("not run yet") == 1 and f"{6 - done} points not run yet." in " ".join(text.split()), text
    sweep.send_signal(signal.SIGCONT)
    sweep.communicate(timeout=200)
    assert sweep.returncode == 0 and "not run yet" not in sageptq("report", "small").stdout


def stop(process, how):
    process.send_signal(how)
    out, said = process.communicate(timeout=120)
    assert process.returncode == 75, (process.returncode, said)
    assert not out, out
    return said


def go_on(said):
    """Runs what the message says to type."""
    command = said.rsplit("to go on: ", 1)[1].strip()
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, cwd=work, timeout=280)
    assert done.returncode == 0, (command, done.stderr)
    return done


def signals():
    model = toy_model(layers=60)
    (work / "a text.txt").write_text((work / "text.txt").read_text() * 4)
    run = ["run", "sage_paper", "--model", model, "--text", "a text.txt", "--protocol", "gptq-64", "--format", "json"]
    whole = rows(sageptq(*run, "--store", "undisturbed", "-o", "whole"))[0]

    def same(row):
        return all(row[k] == whole[k] for k in ("perplexity", "KL", "D", "paper bits", "stored bits", "whole-model bits"))

    for how in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        shutil.rmtree(work / "store", ignore_errors=True)
        out = f"stopped-{how}"
        process = start(*run, "-o", out)
        wait_until(lambda: list(work.glob(f"{out}.work/layer_0003*")))
        said = stop(process, how)
        assert said.rstrip().endswith(f"to go on: {shlex.join([program, *map(str, run), '-o', out])}"), said
        assert "stopping behind the work at hand" in said and "quantize: stopped as asked" in said, said
        kept = list((work / f"{out}.work").glob("layer_*.safetensors"))
        assert 4 <= len(kept) < 60 and not (work / out).exists(), kept
        assert not list(work.rglob("*.failed.h5"))
        resumed = go_on(said)
        assert same(rows(resumed)[0]), (resumed.stdout, whole)
        assert digest(work / out / "model.safetensors") == digest(work / "whole/model.safetensors")
        assert not (work / f"{out}.work").exists() and not list((work / "store").rglob("pending/*"))

    # While it is scored: the quantized file is kept, and not made again.
    shutil.rmtree(work / "store")
    shutil.rmtree(work / "cache", ignore_errors=True)
    process = start(*run)
    wait_until(lambda: list(work.glob("store/pending/*/packed/config.json")))
    said = stop(process, signal.SIGTERM)
    assert "evaluate: stopped as asked" in said, said
    (packed,) = work.glob("store/pending/*/packed/model.safetensors")
    made = packed.stat().st_mtime_ns
    resumed = go_on(said)
    assert same(rows(resumed)[0]) and "is complete already" in resumed.stderr, resumed.stderr
    assert made and not list((work / "store").rglob("pending/*"))


def interrupted_sweep():
    model = toy_model(layers=20)
    (work / "sweep.yaml").write_text(SWEEP)
    sweep = start("sweep", "sweep.yaml", "--model", model)
    wait_until(lambda: list((work / "store/runs").rglob("*.h5")))
    said = stop(sweep, signal.SIGTERM)
    done = len(list((work / "store/runs").rglob("*.h5")))
    assert 1 <= done < 6 and not list(work.rglob("*.failed.h5")), done
    rest = go_on(said)
    assert f"{6 - done} run, {done} stored before, 0 failed" in rest.stderr, rest.stderr

    # Also while it waits for another process.
    shutil.rmtree(work / "store")
    (work / "point.yaml").write_text(POINT)
    holder = start("run", "point.yaml", "--model", model, "--set", "quantizer.bits=7")
    wait_until(lambda: list((work / "store/pending").glob("*/claim.0")))
    holder.send_signal(signal.SIGSTOP)
    sweep = start("sweep", "sweep.yaml", "--model", model)
    wait_until(lambda: len(list((work / "store/runs").rglob("*.h5"))) == 5)
    time.sleep(0.2)
    said = stop(sweep, signal.SIGINT)
    assert "5 of 6 points are stored" in said, said
    holder.kill()
    holder.wait()
    go_on(said)


def no_cache():
    """A cache that cannot be written costs time and one warning, never a run."""
    model = toy_model()
    write_text("calibration.txt", 2)
    (work / "sweep.yaml").write_text("name: small\neval: [{protocol: gptq-64, text: text.txt, windows: 3, kl: true}]\n"
                                     f"calibration: {{samples: 2, length_tokens: 32, dataset: {work}/calibration.txt}}\n"
                                     "sweep: {list: [{name: rtn, extends: rtn}, {name: gptq, extends: gptq}]}\n")

    def run(env, store):
        result = sageptq("sweep", "sweep.yaml", "--model", model, "--store", store, "--format", "json", env=env)
        return result.stderr, [{k: v for k, v in row.items() if k != "seconds"} for row in rows(result)]

    said, expected = run(environment, "with")
    assert "warning" not in said and len(expected) == 2 and all(row["KL"] > 0 for row in expected), (said, expected)
    (work / "file").write_text("")
    homeless = {k: v for k, v in environment.items() if k not in ("SAGEPTQ_CACHE", "HOME", "XDG_CACHE_HOME")}
    for name, env in (("below-a-file", dict(environment, SAGEPTQ_CACHE=str(work / "file/cache"))), ("homeless", homeless)):
        said, without = run(env, name)
        assert said.count("warning: cache: ") == said.count("warning") == 1, said
        assert without == expected, (without, expected)


def mixed_texts():
    model = toy_model()
    write_text("one/text.txt", 1)
    write_text("two/text.txt", 2)
    for text, windows in (("one", 2), ("two", 2), ("one", 4)):
        sageptq("run", "rtn", "--model", model, "--text", f"{text}/text.txt", "--protocol", "gptq-64", "--windows", windows)
    table = list(csv.DictReader(io.StringIO(sageptq("report", "--format", "csv").stdout)))
    assert len({row["label"] for row in table}) == 3, table
    assert sorted(row["windows"] for row in table) == ["2", "2", "4"], table
    texts = {name: digest(work / name / "text.txt")[:12] for name in ("one", "two")}
    assert sorted(row["text"] for row in table) == sorted(f"text.txt {texts[name]}" for name in ("one", "one", "two")), (table, texts)
    for form in ("table", "md", "latex", "json"):
        text = sageptq("report", "--format", form).stdout.replace("\\_", "_")
        for row in table:
            assert text.count(row["label"]) >= 1 and row["text"] in text, (form, text)
    # Two settings of one preset.
    sageptq("run", "rtn", "--model", model, "--text", "one/text.txt", "--protocol", "gptq-64", "--windows", 4, "--set", "quantizer.bits=2")
    table = list(csv.DictReader(io.StringIO(sageptq("report", "--format", "csv").stdout)))
    assert sum(row["label"] == "rtn, quantizer.bits=2" for row in table) == 1, table


def check():
    """check takes what run takes, and refuses what run refuses."""
    model = toy_model()
    run = ["rtn", "--model", model, *SCORE, "--set", "quantizer.bits=3", "--seed", 1, "--device", "cpu", "--store", "store", "--trace"]
    said = sageptq("check", *run, "-o", "out").stderr
    assert "is not stored yet" in said and not (work / "out").exists() and not list((work / "store").rglob("*")), said
    key = re.search(r"run ([0-9a-f]{12}):", said)[1]
    sageptq("run", *run)
    assert list((work / "store/runs").rglob(f"{key}*.h5"))
    assert f"run {key}: is stored already" in sageptq("check", *run, "-o", "out").stderr
    sageptq("run", "rtn", "--model", model, *SCORE, "-o", "other")
    before = tree()
    for wrong, code in ((["-o", "other"], 2), (["-o", "text.txt/x"], 3), (["-o", ""], 2), (["--model", "nowhere"], 3), (["--text", "nowhere.txt"], 3), (["--protocol", "gpt"], 2),
                        (["--windows", -1], 2), (["--device", "cdua"], 2), (["--until", "quantize"], 2), (["--until", "evaluate", "-o", "x"], 2), (["--format", "html"], 2), (["--set", "quantizer.bit=3"], 2)):
        option = wrong[0].split("=")[0]
        kept = [*run]
        if option in kept and option != "--set":
            del kept[kept.index(option):kept.index(option) + 2]
        a, b = (sageptq(verb, *kept, *wrong, expect=code).stderr.strip().splitlines()[-1] for verb in ("check", "run"))
        if option != "--format":  # whose names are more
            assert a.replace("check", "run") == b.replace("check", "run"), (a, b)
    assert tree() == before
    # A file alone is checked where there is no model, too.
    assert "note: run would stop" in sageptq("check", "rtn").stderr


def snippet():
    """The lines of paper_figures/README.md that show how to read a run file, run on one."""
    readers()
    model = toy_model()
    sageptq("run", "rtn", "--model", model, *SCORE)
    (path,) = (work / "store").rglob("*.h5")
    (lines,) = re.findall(r"```python\n(.*?)```", (source / "paper_figures/README.md").read_text(), re.S)
    assert "results/store/runs/ab/ab12....h5" in lines, lines
    names = {}
    exec(compile(lines.replace("results/store/runs/ab/ab12....h5", str(path)), "paper_figures/README.md", "exec"), names)
    assert len(names["matrices"]) == 14 and len(names["nll"]) == 3 and all(x > 0 for x in names["nll"]), names


globals()[case]()
print(f"{case}: passed")
