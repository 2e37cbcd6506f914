"""scripts/ptxas_table.py, sass_stat.py and compile_cuda.sh: against kernels whose registers, accesses and spills are known from their source."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import ptxas_table
import sass_stat

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
NVCC = os.environ["SAGE_NVCC"]
ARCHITECTURES = ["80", "89", "90"]

# One access of each width, by one thread, without a loop.
PROBE = """
#include <cstdint>
template <class T> __global__ void move(const T* from, T* to) { to[threadIdx.x] = from[threadIdx.x]; }
template __global__ void move<float4>(const float4*, float4*);
template __global__ void move<double>(const double*, double*);
template __global__ void move<float>(const float*, float*);
template __global__ void move<uint16_t>(const uint16_t*, uint16_t*);
template __global__ void move<uint8_t>(const uint8_t*, uint8_t*);
__global__ void __launch_bounds__(128) reversed(const float2* from, float2* to) {
  __shared__ float2 block[128];
  block[threadIdx.x] = from[threadIdx.x];
  __syncthreads();
  to[threadIdx.x] = block[127 - threadIdx.x];
}
"""
# A loop in a loop; the inner one loads a number, multiplies and adds once, and is not copied.
LOOPS = """
__global__ void sums(const float* from, float* to, int rows, int cols) {
  float sum = 0;
  int i = 0;
#pragma unroll 1
  do {
    to[i] = sum;
    int j = 0;
#pragma unroll 1
    do sum = sum * 0.5f + from[i * cols + j];
    while (++j < cols);
  } while (++i < rows);
  to[rows] = sum;
}
"""
# 1024 threads leave 64 registers to each; this one wants all of 100 values at once.
SPILLS = """
__global__ void __launch_bounds__(1024) spills(const float* from, float* to) {
  float v[100];
#pragma unroll
  for (int i = 0; i < 100; ++i) v[i] = from[i * 1024 + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 100; ++i) to[i * 1024 + threadIdx.x] = v[i] * v[(i + 33) % 100];
}
"""


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def compile(self, source, *options):
        (self.folder / "probe.cu").write_text(source)
        codes = [f"-gencode=arch=compute_{a},code=sm_{a}" for a in ARCHITECTURES]
        return subprocess.run([str(SCRIPTS / "compile_cuda.sh"), NVCC, "-std=c++20", "-O3", "-Xptxas=-v,--warn-on-spills,-Werror", *options,
                               *codes, "-c", "probe.cu", "-o", "probe.o"], cwd=self.folder, capture_output=True, text=True)


class Probes(Folder):
    def test_widths_and_shared_memory(self):
        done = self.compile(PROBE, "-no-compress")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "", "statistics are kept, not shown")
        found = {}
        for architecture, name, counts in sass_stat.kernels(self.folder / "probe.o"):
            found[name, architecture] = (sass_stat.widths(counts, "LDG"), sass_stat.widths(counts, "STG"))
            if "reversed" in name:
                self.assertEqual((sass_stat.widths(counts, "LDS"), sass_stat.widths(counts, "STS")), ("64x1", "64x1"))
                self.assertEqual(counts["BAR"], 1)
        names = ptxas_table.demangle(sorted({name for name, _ in found}))
        self.assertEqual({(names[n], a): w for (n, a), w in found.items()},
                         {(kernel, f"sm_{a}"): (f"{width}x1", f"{width}x1") for a in ARCHITECTURES
                          for kernel, width in [("move<float4>", 128), ("move<double>", 64), ("move<float>", 32),
                                                ("move<unsigned short>", 16), ("move<unsigned char>", 8), ("reversed", 64)]})
        report = ptxas_table.read_report((self.folder / "probe.o.ptxas").read_text())
        self.assertEqual(report.keys(), found.keys())
        for (name, _), (registers, shared, *spills) in report.items():
            self.assertTrue(4 <= registers <= 40, registers)
            self.assertEqual(shared, 128 * 8 if "reversed" in name else 0)
            self.assertEqual(spills, [0, 0])

    def test_innermost_loops(self):
        self.assertEqual(self.compile(LOOPS, "-no-compress").returncode, 0)
        seen = set()
        for architecture, _, code in sass_stat.kernel_codes(self.folder / "probe.o"):
            seen.add(architecture)
            if not architecture.startswith("sm_8"):
                with self.assertRaisesRegex(sass_stat.FormatError, "8.0 to 8.9"):
                    sass_stat.loops(code)
                continue
            ((first, last),) = sass_stat.loops(code)
            counts = sass_stat.count(code[first : last + 16])
            self.assertEqual((counts["LDG.32"], counts["FFMA"], counts["STG.32"]), (1, 1, 0), counts)
            self.assertLess(sum(counts.values()), 12)
        self.assertEqual(seen, {f"sm_{a}" for a in ARCHITECTURES})

    def test_compressed_code_is_refused(self):
        self.assertEqual(self.compile(PROBE, "-Xfatbin=-compress-all").returncode, 0)
        with self.assertRaisesRegex(sass_stat.FormatError, "-no-compress"):
            list(sass_stat.kernels(self.folder / "probe.o"))

    def test_spilling_kernels_do_not_compile(self):
        done = self.compile(SPILLS)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("spills", done.stderr)


class Table(unittest.TestCase):
    ROWS = {("a", "sm_80"): ["32", "0", "0", "0", "100", "32x1", "32x1"], ("a", "sm_90"): ["30", "16", "0", "0", "90", "128x1", "-"],
            ("b<4>", "sm_80"): ["64", "1024", "0", "0", "500", "128x2", "64x1"]}

    def check(self, rows, version="13.0.88"):
        status, lines = ptxas_table.check(rows, version, ptxas_table.render(self.ROWS, "13.0.88"))
        return status, "\n".join(lines)

    def test_equal(self):
        self.assertEqual(ptxas_table.parse(ptxas_table.render(self.ROWS, "13.0.88")), (self.ROWS, "13.0.88"))
        self.assertEqual(self.check(self.ROWS)[0], 0)
        self.assertEqual(self.check({k: v for k, v in self.ROWS.items() if k[1] == "sm_80"})[0], 0, "one architecture built")

    def test_every_figure_counts(self):
        for key, row in self.ROWS.items():
            for column in range(len(row)):
                changed = dict(self.ROWS)
                changed[key] = [*row[:column], "7", *row[column + 1:]]
                status, text = self.check(changed)
                self.assertEqual(status, ptxas_table.DIFFERENT)
                self.assertIn(f"{key[0]} for {key[1]}", text)
                self.assertIn("make ptxas-table", text)

    def test_kernels_come_and_go(self):
        gone = {k: v for k, v in self.ROWS.items() if k[0] != "b<4>"}
        self.assertIn("no such kernel was built", self.check(gone)[1])
        self.assertIn("not in the table", self.check(self.ROWS | {("c", "sm_80"): self.ROWS["a", "sm_80"]})[1])

    def test_another_toolkit_compares_spills_only(self):
        changed = self.ROWS | {("a", "sm_80"): ["33", "0", "0", "0", "100", "32x1", "32x1"]}
        self.assertEqual(self.check(changed, "13.1.0")[0], ptxas_table.NOTHING)
        spilling = self.ROWS | {("a", "sm_80"): ["32", "0", "8", "8", "100", "32x1", "32x1"]}
        self.assertEqual(self.check(spilling, "13.1.0")[0], ptxas_table.DIFFERENT)

    def test_a_spill_in_the_table_is_no_excuse(self):
        rows = {("a", "sm_80"): ["32", "0", "8", "8", "100", "32x1", "32x1"]}
        self.assertEqual(ptxas_table.check(rows, "13.0.88", ptxas_table.render(rows, "13.0.88"))[0], ptxas_table.DIFFERENT)

    def test_names(self):
        mangled = ["_Z1aPf", "_Z1bILi4ELb1EEvPKfPf", "_Z1cPf", "_Z1cPd"]
        self.assertEqual(list(ptxas_table.demangle(mangled).values()), ["a", "b<4, true>", "c(float*)", "c(double*)"])


if __name__ == "__main__":
    sys.exit(0 if unittest.main(exit=False).result.wasSuccessful() else 1)
