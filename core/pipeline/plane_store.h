// Logical planes <-> stored planes of one matrix.
//
// Stored planes: "header" (JSON text: for every plane its role, alphabet and count, and the integers components left), one U8 tensor
// per symbol plane and for the salient index, one F16 (F32 with reference numerics) tensor per number plane.
#pragma once

#include <string>

#include "core/pipeline/pipeline.h"
#include "core/strategy/planes.h"
#include "core/tensor/mask.h"

namespace sage {

inline constexpr const char* kHeaderPlane = "header";
inline constexpr const char* kSalientIndexPlane = "salient_index";
// Before the names of the salient quantizer's planes, so that one quantizer may serve both slots.
inline constexpr const char* kSalientPlanePrefix = "salient_";

QuantizedMatrix store_planes(const Pipeline& pipeline, const PlaneWriter& writer, const SaliencyMask& mask, int alternative);

// What the header of a stored matrix says, checked against its shape.
struct PlaneHeader {
  struct Entry {
    Role role = Role::kCode;
    int alphabet = 0;  // 0 for number planes
    int64_t count = 0;
  };
  std::map<std::string, Entry> planes;
  std::map<std::string, std::vector<int64_t>> integers;
  MaskShape mask_shape = MaskShape::kNone;
  int alternative = 0;
};
PlaneHeader read_plane_header(const QuantizedMatrix& packed, const std::string& matrix_name);

PlaneReader load_planes(const Pipeline& pipeline, const PlaneHeader& header, const QuantizedMatrix& packed, const std::string& matrix_name);
SaliencyMask load_mask(const Pipeline& pipeline, const PlaneHeader& header, const QuantizedMatrix& packed, const std::string& matrix_name);

}  // namespace sage
