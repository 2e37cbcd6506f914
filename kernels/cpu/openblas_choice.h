// OpenBLAS picks its kernels when it is loaded, by a list of processors. One that is newer than the list gets those of 2004:
// Debian 12's OpenBLAS 0.3.21 calls Intel's Emerald Rapids "Prescott", and a forward pass takes more than three times as long
// as it could.
#pragma once

#include <string_view>

namespace sage {

// Starts the program again, once, under OPENBLAS_CORETYPE, where OpenBLAS fell back to kernels without AVX2 on a processor that
// has it; does nothing where the user has set the variable. To be called first in main: whatever was done before is lost. Cost:
// a second start, some 15 ms, on such machines alone.
//
// Products differ in their last bits between kernels, as they do between machines; records name the kernels used.
void use_openblas_kernels_of_this_machine(char** argv);

// What OPENBLAS_CORETYPE should name on a processor with these features where OpenBLAS chose `chosen`; nullptr where that is as
// good, or a name this list does not know.
const char* better_openblas_kernels(std::string_view chosen, bool avx2, bool avx512);

}  // namespace sage
