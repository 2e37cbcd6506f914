"""One CUDA object is built where ccache is absent; skipped where nvcc is."""

import os
import subprocess
import unittest

from test_build import ROOT, Builds


class CudaBuild(Builds, unittest.TestCase):
    def test_a_cuda_object_without_ccache(self):
        nvcc = subprocess.run(["scripts/setup.sh", "nvcc"], cwd=ROOT, text=True, capture_output=True).stdout.strip()
        if not os.path.exists(nvcc):
            self.skipTest("no nvcc: the build of CUDA objects is not tested")
        # As CMake 3.25.1 has it; later versions, and some distributions', look first whether the library is there.
        modules = self.folder / "modules"
        modules.mkdir()
        (modules / "FindCUDAToolkit.cmake").write_text("set_property(TARGET CUDA::nvToolsExt PROPERTY DEPRECATION outdated)\n"
                                                       "include(${CMAKE_ROOT}/Modules/FindCUDAToolkit.cmake)\n")
        build = self.folder / "cuda"
        self.configure(build, f"-DCMAKE_MODULE_PATH={modules}", "-DSAGE_ONLY=core/util;core/tensor;kernels/cuda", "-DSAGE_CUDA=ON", "-DSAGE_CUDA_ARCHITECTURES=90-real", CUDACXX=nvcc)
        self.run_in("ninja", "-C", str(build), "kernels/cuda/compiled/CMakeFiles/sage_cuda_compiled.dir/calibration.cu.o")
        # Configured again without CUDACXX: the same compiler.
        self.run_in("cmake", str(build))
        self.assertIn(f"SAGE_NVCC:FILEPATH={nvcc}\n", (build / "CMakeCache.txt").read_text())


if __name__ == "__main__":
    unittest.main()
