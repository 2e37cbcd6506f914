"""The build where optional programs are absent, come later, or are named wrongly: configured and built for real, one object each."""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HIDDEN = {"ccache", "nvcc"}


def write(path, text):
    path.write_text(text)
    path.chmod(0o755)


def words(done):
    """All that was said, without CMake's line breaks."""
    return " ".join((done.stdout + done.stderr).split())


class Builds:
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls.temporary.name)
        # Everything of the system but the programs under test.
        cls.tools = cls.folder / "tools"
        cls.tools.mkdir()
        for entry in pathlib.Path("/usr/bin").iterdir():
            if entry.name not in HIDDEN:
                (cls.tools / entry.name).symlink_to(entry)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def run_in(self, *command, expect=0, path=(), **environment):
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=280,
                              env={"PATH": ":".join(map(str, (*path, self.tools))), "HOME": str(self.folder), "LANG": "C", **environment})
        if expect is not None:
            self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done

    def configure(self, build, *settings, **options):
        # CMake, too, looks for programs on PATH only.
        return self.run_in("cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(build), "--log-level=WARNING", "-DCMAKE_BUILD_TYPE=Release",
                           "-DCMAKE_IGNORE_PATH=/usr/bin;/bin;/usr/local/bin", *settings, **options)


class Build(Builds, unittest.TestCase):
    def test_ccache_absent_and_installed_later(self):
        build, built = self.folder / "late", "core/util/CMakeFiles/sage_util.dir/large_blocks.cpp.o"
        settings = ("-DSAGE_ONLY=core/util", "-DSAGE_CUDA=OFF")
        self.configure(build, *settings)
        self.run_in("ninja", "-C", str(build), built)

        # It is used as soon as it is there, and nothing is built again for it.
        late, calls = self.folder / "late_tools", self.folder / "calls"
        late.mkdir()
        write(late / "ccache", f'#!/bin/sh\necho "$1" >> {calls}\nexec "$@"\n')
        self.configure(build, *settings, path=[late])
        self.assertIn("no work to do", self.run_in("ninja", "-C", str(build), built, path=[late]).stdout)
        self.assertFalse(calls.exists())
        (build / built).unlink()
        self.run_in("ninja", "-C", str(build), built, path=[late])
        self.assertEqual(len(calls.read_text().splitlines()), 1)

    def test_a_compiler_that_is_ccache(self):
        # Debian's /usr/lib/ccache: ccache refuses to be started by itself.
        (self.folder / "links").mkdir()
        ccache = self.folder / "links" / "ccache"
        write(ccache, '#!/bin/sh\necho "as ${0##*/}"\n')
        (self.folder / "links" / "g++").symlink_to(ccache)
        done = self.run_in("scripts/compile.sh", str(self.folder / "links" / "g++"), "-c", path=[ccache.parent])
        self.assertEqual(done.stdout, "as g++\n")

    def test_own_launcher(self):
        launcher, build = self.folder / "launcher", self.folder / "own"
        write(launcher, '#!/bin/sh\nexec "$@"\n')
        settings = ("-DSAGE_ONLY=core/util", "-DSAGE_CUDA=OFF")
        self.configure(build, *settings, CMAKE_CXX_COMPILER_LAUNCHER=str(launcher))
        self.assertTrue(f" {launcher} " in (build / "CMakeFiles/rules.ninja").read_text())

    def test_python_named_wrongly(self):
        done = self.configure(self.folder / "python", "-DSAGE_ONLY=core/util", "-DSAGE_CUDA=OFF", "-DSAGE_PYTHON=/no/python")
        self.assertIn("SAGE_PYTHON: found '/no/python', which is not there", words(done))

    def find_cuda(self, *settings, **options):
        """What cmake/SageCuda.cmake says by itself. Where it has found nvcc it goes on, which a script cannot."""
        done = self.run_in("cmake", *settings, "-P", str(ROOT / "cmake/SageCuda.cmake"), expect=None, **options)
        said = words(done)
        return "enable_language command is not scriptable" in said, done.returncode, said

    def toolkit(self, name, script):
        (self.folder / name / "bin").mkdir(parents=True)
        write(self.folder / name / "bin" / "nvcc", f"#!/bin/sh\n{script}\n")
        return self.folder / name

    def test_nvcc_named_wrongly(self):
        old, broken = self.toolkit("old", "echo release 11.8, V11.8.89"), self.toolkit("broken", "exit 1")
        for environment, message in [({"CUDACXX": "/no/nvcc"}, "CUDACXX: /no/nvcc does not run as nvcc"),
                                     ({"CUDACXX": "/bin/true"}, "CUDACXX: /bin/true does not run as nvcc"),
                                     ({"CUDACXX": f"{old}/bin/nvcc"}, f"CUDACXX: {old}/bin/nvcc is of CUDA 11.8, older than 12.0")]:
            found, status, said = self.find_cuda(**environment)
            self.assertEqual((found, status), (False, 1), said)
            self.assertIn(message, said)
            self.assertIn("-DSAGE_CUDA=OFF", said)
        found, status, said = self.find_cuda("-DCMAKE_CUDA_COMPILER=/no/nvcc")
        self.assertEqual((found, status), (False, 1), said)
        self.assertIn("CMAKE_CUDA_COMPILER: /no/nvcc does not run", said)

        # Found, not named: left out, and that is said.
        for folder, message in [(old, "is of CUDA 11.8, older than 12.0"), (broken, "does not run as nvcc")]:
            found, status, said = self.find_cuda(CUDA_HOME=str(folder))
            self.assertEqual((found, status), (False, 0), said)
            self.assertIn(f"left out: {folder}/bin/nvcc {message}", said)
        self.assertEqual(self.find_cuda("-DSAGE_CUDA=ON", CUDA_HOME=str(broken))[:2], (False, 1))

    def test_nvcc_found(self):
        new = self.toolkit("new", "echo release 13.0, V13.0.88")
        for options in ({"CUDACXX": f"{new}/bin/nvcc"}, {"CUDA_HOME": str(new)}, {"CUDA_PATH": str(new)}, {"path": [new / "bin"]},
                        {"path": [new / "bin"], "CUDACXX": "nvcc"}, {"path": [new / "bin"], "CUDACXX": "", "CUDA_HOME": ""}):
            found, _, said = self.find_cuda(**options)
            self.assertTrue(found, (options, said))
            self.assertNotIn("expected", said)
        found, _, said = self.find_cuda(path=[new / "bin"], CUDA_HOME="/no/toolkit")
        self.assertTrue(found)
        self.assertIn(f"CUDA_HOME: found '/no/toolkit', which has no bin/nvcc; expected the folder of a CUDA toolkit; correct or unset it. "
                      f"Looked on, and found {new}/bin/nvcc", said)


if __name__ == "__main__":
    unittest.main()
