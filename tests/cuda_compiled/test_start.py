"""A program built with CUDA starts as if it were not: no driver is needed and cuBLAS stays unloaded. Without a device, --device cuda ends with
its reason before any work."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ["SAGEPTQ"]
CONFIGS = pathlib.Path(__file__).resolve().parents[2] / "experiments" / "configs"


def run(*arguments, **environment):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, env=dict(os.environ, **environment))


class Start(unittest.TestCase):
    def test_needs_neither_driver_nor_cublas(self):
        dynamic = subprocess.run(["readelf", "-d", PROGRAM], capture_output=True, text=True, check=True).stdout
        needed = [line for line in dynamic.splitlines() if "(NEEDED)" in line]
        self.assertGreater(len(needed), 5)
        for library in ("libcuda.so", "libcublas", "libcudart"):
            self.assertNotIn(library, "\n".join(needed))

    def test_looks_for_no_library_of_cuda(self):
        for arguments in (["help"], ["list"], ["list", "components"], ["--version"]):
            done = run(*arguments, LD_DEBUG="libs")
            self.assertEqual(done.returncode, 0)
            self.assertIn("find library=", done.stderr)
            for library in ("libcuda.so", "libcublas"):
                self.assertNotIn(library, done.stderr, f"{arguments}")

    def test_doctor_tells_what_it_was_built_with(self):
        done = run("doctor")
        self.assertEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"toolkit +\d+\.\d+\.\d+; compiled for sm_\d+")
        self.assertRegex(done.stdout, r"cuda_on_cpu +.*; for tests: executes the CUDA kernels on the CPU")

    def test_unknown_devices_are_named(self):
        done = run("eval", "--model", "/nowhere", "--device", "cdua")
        self.assertEqual(done.returncode, 2)
        self.assertIn("did you mean 'cuda'?", done.stderr)


class NoDevice(unittest.TestCase):
    def setUp(self):
        listing = run("list", "backends", "--format", "csv").stdout
        if "\ncuda,yes" in listing:
            self.skipTest("this machine has a device")
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def test_ends_with_the_reason_before_any_work(self):
        # The model is missing too: whoever looked for it first would say so.
        for arguments in (["run", "rtn"], ["sweep", str(CONFIGS / "grouping.yaml")], ["eval"], ["parity", "--expected", "/nowhere/e.safetensors"],
                          ["matrix", "--input", "/nowhere/w.h5", "--method", "rtn"]):
            for device in ("cuda", "cuda-bf16", "cuda-fp16"):
                model = [] if arguments[0] == "matrix" else ["--model", "/nowhere"]
                done = run(*arguments, *model, "--device", device, SAGEPTQ_STORE=self.folder.name + "/store")
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertRegex(done.stderr, r"cuda: no usable device: \S+")
                self.assertIn("--device cpu", done.stderr)
        self.assertEqual(os.listdir(self.folder.name), [])


if __name__ == "__main__":
    sys.exit(0 if unittest.main(exit=False).result.wasSuccessful() else 1)
