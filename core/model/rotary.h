// Frequencies of rotary position embeddings for each scaling kind.
#pragma once

#include "core/backend/backend.h"
#include "core/model/model_config.h"

namespace sage {

// f_i = theta^(-2i/head_dim), i = 0 .. head_dim/2 - 1 (Su et al., arXiv:2104.09864, Eq. 15), then by scaling kind:
//   default  f_i
//   linear   f_i / factor                                  (position interpolation, Chen et al., arXiv:2306.15595)
//   llama3   wavelength w = 2 pi / f_i, L = original_positions:
//              w < L / high_freq_factor:  f_i
//              w > L / low_freq_factor:   f_i / factor
//              between:  (1 - s) f_i / factor + s f_i,  s = (L / w - low_freq_factor) / (high_freq_factor - low_freq_factor)
//            (the LLaMA-3.1 release code; the papers do not give it)
// All in double; Hugging Face computes the same in float.
RotaryTable rotary_table(const RotaryConfig& rotary, int64_t head_dim);

}  // namespace sage
