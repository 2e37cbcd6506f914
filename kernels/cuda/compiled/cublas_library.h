// cuBLAS, loaded at run time: linked directly, every start of the program would map some 200 MB for it.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace sage::cuda {

struct CublasFunctions;  // the entry points that are used; cublas_functions.h

// Names for dlopen, in the order they are tried: libcublas.so.MAJOR as the loader finds it, in the toolkit this program was built
// with, and the other MAJOR as the loader finds it. MAJOR is 12 or 13, the toolkit's first: the entry points used here are the same
// in both.
std::vector<std::string> cublas_candidates();

// Loads the first that can be loaded; it stays in memory until the process ends. ResourceError: none can, or one lacks an entry
// point.
std::shared_ptr<const CublasFunctions> load_cublas(const std::vector<std::string>& candidates = cublas_candidates());

}  // namespace sage::cuda
