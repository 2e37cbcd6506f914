"""The bundle for a machine with a GPU: run.sh with programs that only pretend, and, in a build with CUDA, the bundle itself."""

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM = "/usr/bin:/bin"

DEVICE = """machine
  threads         2 (one for each processor)

backends
  cuda            CARD, sm_90
  cuda_on_cpu     pretended

CUDA
  driver          serves up to CUDA 13.0
"""
# A toy run prints a perplexity and writes a file.
PROGRAM = r"""#!/bin/bash
[[ $1 == -q ]] && shift
case $1 in
  --version) echo sageptq ;;
  doctor) cat "$(dirname "$0")/doctor" ;;
  bench) echo "a: best 1.000 ms" >&2; BENCH; echo "the table" ;;
  run)
    device=cpu
    for ((i = 1; i <= $#; ++i)); do
      [[ ${!i} == --device ]] && { j=$((i + 1)); device=${!j}; }
      [[ ${!i} == -o ]] && { j=$((i + 1)); out=${!j}; }
    done
    mkdir -p "$out"
    RUN
    ;;
esac
"""
SAME = """printf 'packed %s' "$2" > "$out/model.safetensors"; echo '{"rows": [{"label": "x", "perplexity": "12.5 ± 0.1"}]}'"""
TESTS = r"""#!/bin/bash
echo "$*" > "$OUT_ARGUMENTS.$(basename "$0")"
echo "[==========] Running 2 tests"
echo "[ RUN      ] Some.Test/cuda"
echo "[       OK ] Some.Test/cuda (17 ms)"
MORE
"""


class Run(unittest.TestCase):
    """run.sh by itself."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "out"

    def bundle(self, doctor=DEVICE, run=SAME, bench=":", kernels="exit 0"):
        files = self.folder / "files"
        for name in ("bin", "lib/glibc", "share/presets", "share/toy"):
            (files / name).mkdir(parents=True)
        (files / "share/toy/text.txt").write_text("text")
        (files / "about").write_text("commit abc\ntoolkit 13.0.88; compiled for sm_90\nglibc 2.36\n")
        (files / "bin/doctor").write_text(doctor)
        scripts = {"sageptq": PROGRAM.replace("BENCH", bench).replace("RUN", run)}
        for name in ("api", "kernels", "packed"):
            program = "sage_test_kernels" if name == "kernels" else f"sage_test_cuda_{'compiled' if name == 'api' else name}"
            scripts[program] = TESTS.replace("MORE", kernels if name == "kernels" else "exit 0")
        for name, text in scripts.items():
            (files / "bin" / name).write_text(text)
            (files / "bin" / name).chmod(0o755)
        bundle = self.folder / "bundle"
        bundle.mkdir()
        subprocess.run(["tar", "-czf", bundle / "files.tar.gz", "-C", files, "."], check=True)
        shutil.copy(ROOT / "scripts/cuda_bundle_run.sh", bundle / "run.sh")
        return bundle

    def environment(self):
        return {"PATH": SYSTEM, "TMPDIR": str(self.folder), "OUT_ARGUMENTS": str(self.folder / "arguments")}

    def run_bundle(self, bundle, *options, **environment):
        done = subprocess.run([bundle / "run.sh", "--out", self.out, *options], text=True, capture_output=True, timeout=60,
                              env={**self.environment(), **environment}, cwd=self.folder)
        self.assertFalse(list(self.folder.glob("sage-cuda.*")), "the unpacked files stayed")
        return done

    def report(self):
        return (self.out / "report.txt").read_text()

    def test_without_a_device(self):
        reason = "cudaErrorInsufficientDriver (35): CUDA driver version is insufficient"
        bundle = self.bundle(doctor=DEVICE.replace("CARD, sm_90", f"not available: {reason}").replace("serves up to CUDA 13.0", "none"))
        done = self.run_bundle(bundle)
        self.assertEqual(done.returncode, 3, done.stderr)
        for words in (reason, "driver: none", "expected an NVIDIA GPU", "CUDA 13.0.88", "Nothing was tested."):
            self.assertIn(words, done.stderr)
        self.assertFalse(self.out.exists())

    def test_all_passes(self):
        done = self.run_bundle(self.bundle())
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        report = self.report()
        for words in ("CARD, sm_90", "commit", "PASSED   api", "PASSED   kernels", "PASSED   packed", "PASSED   toy", "PASSED   bench",
                      "1 passed, 0 failed, 0 skipped", "longest  17 ms  Some.Test/cuda", "the table",
                      "0 of 10 bytes differ; perplexity 12.5 on cpu, 12.5 here"):
            self.assertIn(words, report)
        self.assertNotIn("EXECUTED ON THE CPU", report)
        self.assertEqual(report.count("ok       "), 4)
        self.assertIn("--gtest_filter=Backends/*/cuda-", (self.folder / "arguments.sage_test_kernels").read_text())

    def test_failures_are_named(self):
        failing = 'echo "[ RUN      ] A.B/cuda"; echo "[  FAILED  ] A.B/cuda, where GetParam() = x (3 ms)"; echo "[ RUN      ] C.D/cuda"; kill -SEGV $$'
        done = self.run_bundle(self.bundle(kernels=failing, run=SAME.replace("12.5", "$([[ $device == cuda ]] && echo 13.5 || echo 12.5)")))
        self.assertEqual(done.returncode, 1)
        report = self.report()
        for words in ("FAILED (139) kernels", "1 passed, 1 failed", "failed   A.B/cuda", "stopped in C.D/cuda", "DIFFERS  rtn", "PASSED   bench"):
            self.assertIn(words, report)

    def test_other_bytes_are_seen(self):
        done = self.run_bundle(self.bundle(run=SAME.replace('packed %s\' "$2"', 'packed %s %s\' "$2" "${device:0:3}"')))
        self.assertEqual(done.returncode, 1)
        self.assertIn("DIFFERS  rtn", self.report())

    def test_time_is_limited(self):
        began = time.monotonic()
        done = self.run_bundle(self.bundle(kernels="sleep 100", bench="sleep 100"), "--seconds", "12")
        self.assertLess(time.monotonic() - began, 25)
        self.assertEqual(done.returncode, 1)
        report = self.report()
        for words in ("CUT      kernels", "1 passed", "CUT      bench", "a: best 1.000 ms"):
            self.assertIn(words, report)

    def test_an_interrupted_run_leaves_its_report(self):
        process = subprocess.Popen([self.bundle(bench="sleep 100") / "run.sh", "--out", self.out], env=self.environment(), cwd=self.folder,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        until = time.monotonic() + 30
        while not (self.out / "bench.log").exists() and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 1)
        self.assertIn("interrupted", said)
        self.assertIn("PASSED   toy", self.report())
        self.assertFalse(list(self.folder.glob("sage-cuda.*")))

    def test_without_cublas(self):
        done = self.run_bundle(self.bundle(doctor=DEVICE.replace("CARD, sm_90", "not available: cuBLAS: not found (x)")),
                               CUDA_HOME=str(self.folder / "none"))
        report = self.report()
        self.assertEqual(done.returncode, 1)
        for words in ("NOT FOUND", "SKIPPED  products, toy, bench", "PASSED   kernels"):
            self.assertIn(words, report)
        self.assertIn(":*Gram*", (self.folder / "arguments.sage_test_kernels").read_text())
        self.assertNotIn("== toy model", report)

    def test_on_the_cpu_it_says_so(self):
        done = self.run_bundle(self.bundle(doctor=DEVICE.replace("CARD, sm_90", "not available: no driver")), "--on-cpu")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("EXECUTED ON THE CPU", self.report())
        self.assertIn("/cuda_on_cpu-", (self.folder / "arguments.sage_test_kernels").read_text())

    def test_wrong_usage(self):
        bundle = self.bundle()
        for options in (["--seconds", "many"], ["--sceonds"], ["--out"]):
            done = subprocess.run([bundle / "run.sh", *options], text=True, capture_output=True, env=self.environment(), cwd=self.folder)
            self.assertEqual(done.returncode, 2, options)
            self.assertIn("expected: ./run.sh", done.stderr)
        self.out.mkdir()
        self.assertEqual(self.run_bundle(bundle).returncode, 2)


class Bundle(unittest.TestCase):
    """scripts/cuda_bundle.sh."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def make(self, **environment):
        return subprocess.run([ROOT / "scripts/cuda_bundle.sh"], text=True, capture_output=True,
                              env={"PATH": SYSTEM, "HOME": str(self.folder), "OUT": str(self.folder / "b"), **environment})

    def test_without_nvcc(self):
        if pathlib.Path("/usr/local/cuda/bin/nvcc").exists():
            self.skipTest("nvcc is installed where it is found without being named")
        done = self.make()
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("no nvcc", done.stderr)

    def test_layout_and_start(self):
        build = os.environ.get("SAGE_BUNDLE_BUILD", "")
        needed = ("sageptq", "sage_test_kernels", "sage_test_cuda_compiled", "sage_test_cuda_packed")
        if not build or not all((pathlib.Path(build) / "bin" / name).exists() for name in needed):
            self.skipTest("this build has no CUDA, or not all of its programs")
        done = self.make(SAGE_BUNDLE_BUILD=build)
        self.assertEqual(done.returncode, 0, done.stderr)
        bundle = self.folder / "b"
        self.assertEqual(sorted(p.name for p in bundle.iterdir()), ["files.tar.gz", "run.sh"])
        self.assertLess(sum(p.stat().st_size for p in bundle.iterdir()), 60e6)
        self.assertTrue((self.folder / "b.tar.gz").exists())
        names = subprocess.run(["tar", "-tzf", bundle / "files.tar.gz"], text=True, capture_output=True, check=True).stdout.split()
        for name in ("./about", "./lib/libgomp.so.1", "./lib/glibc/libc.so.6", "./lib/glibc/ld-linux-x86-64.so.2", "./share/presets/rtn.yaml",
                     "./share/toy/tokenizer.json", "./share/toy/text.txt", "./share/toy/model.safetensors"):
            self.assertIn(name, names)
        self.assertFalse([n for n in names if "libcuda" in n or "libc.so" in n and "glibc" not in n])
        for loader in ("system", "own"):
            with self.subTest(loader):
                run = subprocess.run([bundle / "run.sh", "--out", self.folder / "out"], text=True, capture_output=True,
                                     env={"PATH": SYSTEM, "TMPDIR": str(self.folder), "SAGE_BUNDLE_LOADER": loader})
                if run.returncode == 3:
                    self.assertIn("no device answers: cuda", run.stderr)
                else:  # there is a device
                    self.assertTrue((self.folder / "out/report.txt").exists(), run.stderr)
                    break
        small = self.make(SAGE_BUNDLE_BUILD=build, SAGE_BUNDLE_MB="5", OUT=str(self.folder / "small"))
        self.assertEqual(small.returncode, 1)
        self.assertIn("expected at most 5", small.stderr)
        self.assertFalse((self.folder / "small").exists())


if __name__ == "__main__":
    unittest.main()
