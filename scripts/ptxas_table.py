#!/usr/bin/env python3
"""What ptxas made of each kernel: registers, static shared memory, spills, instructions and widths of global memory accesses.

    ptxas_table.py BUILD                    print the table of a build folder
    ptxas_table.py BUILD --check TABLE      compare with a table checked in; exit 1 and the differences where they differ, 77 where
                                            the build has nothing to compare
    ptxas_table.py BUILD --update TABLE     write it

Registers and spills are read from the reports beside the objects (scripts/compile_cuda.sh), instructions from the objects
(scripts/sass_stat.py). Only the architectures of the build are compared.
"""

import argparse
import pathlib
import re
import subprocess
import sys

import sass_stat

COLUMNS = ["kernel", "architecture", "registers", "static shared", "spill stores", "spill loads", "instructions", "global loads",
           "global stores"]
DIFFERENT, NOTHING = 1, 77
UPDATE = "make ptxas-table"


def demangle(names):
    """Kernels as they are written, without namespace, result type and, where the name alone tells them apart, arguments."""
    if not names:
        return {}
    text = subprocess.run(["c++filt"], input="\n".join(names), text=True, capture_output=True, check=True).stdout
    full = {mangled: re.sub(r"^void ", "", name).replace("kx_dev::", "").replace("(anonymous namespace)::", "")
            for mangled, name in zip(names, text.splitlines(), strict=True)}
    short = {mangled: without_arguments(name) for mangled, name in full.items()}
    times = list(short.values())
    return {mangled: name if times.count(name) == 1 else full[mangled] for mangled, name in short.items()}


def without_arguments(name):
    depth = 0
    for at in range(len(name) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(name[at], 0)
        if name[at] == "(" and depth == 0:
            return name[:at]
    return name


def read_report(text):
    """(mangled name, architecture) -> registers, static shared bytes, spill stores, spill loads of a report of ptxas -v."""
    found, key, spills = {}, None, None
    for line in text.splitlines():
        if match := re.search(r"Compiling entry function '(\S+)' for '(sm_\w+)'", line):
            key, spills = match.groups(), None
        elif match := re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", line):
            # Functions that were not inlined report theirs too; the kernel's own come first.
            spills = spills or tuple(map(int, match.groups()))
        elif key and spills and (match := re.search(r"Used (\d+) registers", line)):
            shared = re.search(r"(\d+) bytes smem", line)
            found[key] = (int(match.group(1)), int(shared.group(1)) if shared else 0, *spills)
            key = None
    return found


def version_of(build):
    for file in build.glob("CMakeFiles/*/CMakeCUDACompiler.cmake"):
        if match := re.search(r'CMAKE_CUDA_COMPILER_VERSION "([^"]+)"', file.read_text()):
            return match.group(1)
    return None


def table_of(build):
    """The build's rows, by kernel and architecture."""
    objects = sorted(build.glob("kernels/cuda/compiled/CMakeFiles/sage_cuda_compiled.dir/*.cu.o"))
    reports, code = {}, {}
    for file in objects:
        reports |= read_report(pathlib.Path(f"{file}.ptxas").read_text())
        code |= {(name, architecture): counts for architecture, name, counts in sass_stat.kernels(file)}
    if reports.keys() != code.keys():
        odd = sorted(reports.keys() ^ code.keys())[0]
        sys.exit(f"ptxas_table.py: {odd[0]} for {odd[1]} is in an object or in its report, but not in both; expected both to be of one "
                 f"compilation; delete {build} and build again")
    names = demangle(sorted({name for name, _ in reports}))
    rows = {}
    for (name, architecture), figures in reports.items():
        counts = code[name, architecture]
        rows[names[name], architecture] = [*map(str, figures), str(sum(counts.values())), sass_stat.widths(counts, "LDG"),
                                           sass_stat.widths(counts, "STG")]
    return rows


def render(rows, version):
    lines = [f"# What ptxas of CUDA {version} made of each kernel; sizes in bytes. Static counts: loops count once. {UPDATE} writes this file.",
             "\t".join(COLUMNS)]
    return "\n".join(lines + ["\t".join([*key, *rows[key]]) for key in sorted(rows)]) + "\n"


def parse(text):
    lines = text.splitlines()
    version = re.search(r"CUDA (\S+)", lines[0]).group(1)
    if lines[1].split("\t") != COLUMNS:
        sys.exit(f"ptxas_table.py: the columns are {lines[1].split(chr(9))}; expected {COLUMNS}; write the table anew with {UPDATE}")
    cells = [line.split("\t") for line in lines[2:]]
    return {(c[0], c[1]): c[2:] for c in cells}, version


def differences(expected, found):
    """In words, one line each; of the architectures that were built."""
    built = {architecture for _, architecture in found}
    out = []
    for key in sorted({k for k in expected if k[1] in built} | found.keys()):
        where = " for ".join(key)
        if key not in found:
            out.append(f"{where}: in the table, but no such kernel was built")
        elif key not in expected:
            out.append(f"{where}: not in the table")
        else:
            out += [f"{where}: {column} {now}; the table has {before}"
                    for column, before, now in zip(COLUMNS[2:], expected[key], found[key], strict=True) if before != now]
    return out


def spilling(rows):
    return [f"{' for '.join(key)}: spills {row[2]} bytes stored, {row[3]} loaded; expected none"
            for key, row in sorted(rows.items()) if (row[2], row[3]) != ("0", "0")]


def check(rows, version, text):
    """Exit status and what to print."""
    problems = spilling(rows)
    expected, expected_version = parse(text)
    if version == expected_version:
        problems += differences(expected, rows)
    if problems:
        return DIFFERENT, [*problems, f"If that is as it should be: {UPDATE}, and say why in the commit."]
    if version != expected_version:
        return NOTHING, [f"no kernel spills; the table is of CUDA {expected_version}, this build of CUDA {version}: nothing else to compare"]
    return 0, [f"{len(rows)} rows as in the table"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", type=pathlib.Path, metavar="TABLE")
    what.add_argument("--update", type=pathlib.Path, metavar="TABLE")
    given = parser.parse_args()
    version = version_of(given.build)
    if version is None:
        print(f"{given.build}: built without CUDA: nothing to compare")
        return NOTHING
    rows = table_of(given.build)
    if not rows:
        sys.exit(f"ptxas_table.py: {given.build} has no compiled kernels; expected some; build the target sage_cuda_compiled")
    if given.check:
        status, lines = check(rows, version, given.check.read_text())
        print("\n".join(lines))
        return status
    if given.update:
        given.update.write_text(render(rows, version))
        print(f"{given.update}: {len(rows)} rows")
        return 0
    print(render(rows, version), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
