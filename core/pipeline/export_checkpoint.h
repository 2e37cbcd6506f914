// A packed directory as an ordinary Hugging Face checkpoint, which every other tool reads.
#pragma once

#include <optional>
#include <string>

#include "core/pipeline/packed_checkpoint.h"

namespace sage {

// Linear layers are decoded to the dtype they had in the model, every other tensor is as it was; with `dtype` (F16, BF16, F32)
// all tensors of the model become that, since that is what config.json then says and other tools convert to as they load. F32
// keeps every bit. `folder` must not exist; it appears whole or not at all.
//
// UserError: a number that is infinite in the dtype it would be written as, naming tensor, count and the dtypes that hold it.
// Numbers that become zero, or lose bits because they are below FP16's normal range, are counted in a warning.
void export_dequantized(const PackedSource& source, const std::string& folder, std::optional<DType> dtype = {});

}  // namespace sage
