// The planes of a packed file as a PackedMatrix takes them: where a method fits the device layout, without going through
// decoded weights.
//
// What fits: quantizer `binary` with any scale and shift; groups of single weights (up to 8), of rows, of blocks of columns or
// of rows and blocks (a multiple of 32 columns wide, or all of them); one segment, or segments a multiple of 32 wide; any
// saliency and any quantizer of salient weights (they are kept as values); transform `none` or `scale`; any coder. Symbols of
// coder `raw` and positions of coder `bitmap` go to the device as they stand in the file; others are decoded first, a byte a
// symbol.
#pragma once

#include <string>

#include "core/pipeline/matrix_engine.h"
#include "kernels/cuda/packed_matrix.h"

namespace sage::cuda {

// UserError naming the component that does not fit the layout, what would, and the matrix. ResourceError: damaged planes, as
// decode_matrix. `name` is the matrix's. Cost: the coders' decoding and, where weights are salient, rows x cols floats.
PackedPlanes read_packed_planes(const PipelineFactory& factory, const QuantizedMatrix& packed, const std::string& name);

}  // namespace sage::cuda
