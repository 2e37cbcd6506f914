// The disk does not take what is to be written: it is full, read-only, or something is in the way. Whatever is written next will not fit
// either, so this is never one run's own failure: a sweep ends with it.
#pragma once

#include "core/util/errors.h"

namespace sage {

class WriteError : public ResourceError {
 public:
  using ResourceError::ResourceError;
};

}  // namespace sage
