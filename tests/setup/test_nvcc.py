"""scripts/setup.sh nvcc, what continuous integration makes of it, and scripts/test_cuda.sh where nothing can run."""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEM = "/usr/bin:/bin"


class Nvcc(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def toolkit(self, name, script="exit 1"):
        nvcc = self.folder / name / "bin" / "nvcc"
        nvcc.parent.mkdir(parents=True)
        nvcc.write_text(f"#!/bin/sh\n{script}\n")
        nvcc.chmod(0o755)
        return nvcc

    def run_with(self, *command, **environment):
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True,
                              env={"PATH": SYSTEM, "HOME": str(self.folder), **environment})

    def found(self, **environment):
        return self.run_with("scripts/setup.sh", "nvcc", **environment).stdout.strip()

    def test_order(self):
        home, path, on_path = (self.toolkit(name) for name in ("home", "path", "on_path"))
        everything = {"CUDACXX": "/some/nvcc", "CUDA_HOME": str(home.parents[1]), "CUDA_PATH": str(path.parents[1]),
                      "PATH": f"{on_path.parent}:{SYSTEM}"}
        for variable, expected in [("CUDACXX", "/some/nvcc"), ("CUDA_HOME", str(home)), ("CUDA_PATH", str(path)), ("PATH", str(on_path))]:
            self.assertEqual(self.found(**everything), expected)
            everything[variable] = SYSTEM if variable == "PATH" else ""

    def test_a_folder_without_nvcc_is_said(self):
        on_path = self.toolkit("on_path")
        done = self.run_with("scripts/setup.sh", "nvcc", CUDA_HOME="/no/toolkit", PATH=f"{on_path.parent}:{SYSTEM}")
        self.assertEqual(done.stdout.strip(), str(on_path))
        self.assertIn("/no/toolkit (CUDA_HOME or CUDA_PATH) has no bin/nvcc", done.stderr)

    def test_continuous_integration_insists_where_nvcc_is(self):
        make = self.folder / "tools" / "make"
        make.parent.mkdir()
        make.write_text('#!/bin/sh\necho "make $* with $SAGE_CUDA"\n')
        make.chmod(0o755)
        tools = f"{make.parent}:{SYSTEM}"
        with_nvcc = self.run_with(".ci/run", PATH=tools, CUDACXX="/some/nvcc").stdout
        self.assertIn("SAGE_CUDA=ON, nvcc: /some/nvcc", with_nvcc)
        self.assertIn("make test YES=1 with ON", with_nvcc)
        self.assertIn("make test YES=1 with OFF", self.run_with(".ci/run", PATH=tools, CUDACXX="/some/nvcc", SAGE_CUDA="OFF").stdout)
        if not os.path.exists("/usr/local/cuda/bin/nvcc"):
            self.assertIn("make test YES=1 with OFF", self.run_with(".ci/run", PATH=tools).stdout)

    def test_no_device_is_said_before_anything_is_built(self):
        # Stands in for nvcc: "compiles" the question about the device to one that has the answer of a machine without a driver.
        nvcc = self.toolkit("toolkit", 'printf "#!/bin/sh\\nprintf no_driver\\nexit 3\\n" > "$2"; chmod +x "$2"')
        done = self.run_with("scripts/test_cuda.sh", CUDACXX=str(nvcc))
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("no device answers: no_driver", done.stderr)

    def test_a_broken_toolkit_is_not_a_missing_device(self):
        done = self.run_with("scripts/test_cuda.sh", CUDACXX=str(self.toolkit("toolkit", "echo broken >&2; exit 1")))
        self.assertEqual(done.returncode, 3)
        self.assertIn("broken", done.stderr)
        self.assertIn("does not compile a small program", done.stderr)


if __name__ == "__main__":
    unittest.main()
