#!/usr/bin/env python3
"""What a build says of its sources. Whatever may change a number changes a digest, with git or without."""
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

source = pathlib.Path(__file__).resolve().parents[2]


def build_info(tree):
    out = tree / "out.h"
    out.unlink(missing_ok=True)
    subprocess.run(["cmake", f"-DSOURCE_DIR={tree}", "-DVERSION=1", f"-DOUTPUT={out}", "-P", source / "cmake/SageBuildInfo.cmake"], check=True)
    found = dict(re.findall(r'(k\w+) = "?([^";]*)"?;', out.read_text()))
    out.unlink()
    return found["kCommit"], found["kCommitDirty"], found["kDiffDigest"], found["kSourceDigest"]


def git(tree, *arguments):
    subprocess.run(["git", "-C", tree, "-c", "user.name=n", "-c", "user.email=e@x", *arguments], check=True, capture_output=True)


def write(tree, name, text):
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).write_text(text)


def fill(tree):
    for name in ("CMakeLists.txt", "core/a.cpp", "kernels/b.inl", "strategies/quantizer/c.h", "experiments/engine/d.cpp", "analysis/e.cpp", "docs/f.md"):
        write(tree, name, "one\n")


with tempfile.TemporaryDirectory() as folder:
    # Nothing above this folder is asked for a repository.
    os.environ["GIT_CEILING_DIRECTORIES"] = folder
    plain = pathlib.Path(folder) / "plain"
    fill(plain)
    commit, dirty, diff, first = build_info(plain)
    assert (commit, dirty, diff) == ("", "false", "") and re.fullmatch("[0-9a-f]{64}", first), (commit, dirty, diff, first)
    seen = {first}
    for name in ("CMakeLists.txt", "core/a.cpp", "kernels/b.inl", "strategies/quantizer/c.h", "experiments/engine/d.cpp", "strategies/quantizer/new.cpp"):
        write(plain, name, "two\n")
        now = build_info(plain)[3]
        assert now not in seen, name
        seen.add(now)
    for name in ("analysis/e.cpp", "docs/f.md", "build/g.cpp", "kernels/bench/h.cpp"):
        write(plain, name, "two\n")
        assert build_info(plain)[3] == now, name

    tree = pathlib.Path(folder) / "repository"
    fill(tree)
    write(tree, ".gitignore", "*.part\n/out.h\n")
    git(tree, "init", "-q")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "one")
    commit, dirty, diff, sources = build_info(tree)
    assert re.fullmatch("[0-9a-f]{40}", commit) and (dirty, diff, sources) == ("false", "", first), (commit, dirty, diff, sources)
    write(tree, "strategies/x.part", "ignored")
    write(tree, "models/weights.bin", "no part of the program")
    assert build_info(tree) == (commit, "false", "", first)
    # A file git does not know yet, as a new component's is; and another text of it.
    digests = set()
    for text in ("a\n", "b\n"):
        write(tree, "strategies/quantizer/my component.h", text)
        again, dirty, diff, sources = build_info(tree)
        assert again == commit and dirty == "true" and len(diff) == 64 and sources != first, (dirty, diff, sources)
        digests |= {diff, sources}
    write(tree, "core/a.cpp", "three\n")
    digests |= set(build_info(tree)[2:])
    assert len(digests) == 6, digests
    # The same sources under another commit are the same sources.
    sources = build_info(tree)[3]
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "two")
    again, dirty, diff, committed = build_info(tree)
    assert again != commit and (dirty, diff, committed) == ("false", "", sources)
    shutil.rmtree(tree)
print("build info: passed")
