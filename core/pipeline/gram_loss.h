// How much of a layer's output quantization lost, on the inputs it was calibrated with.
#pragma once

#include <optional>

#include "core/backend/backend.h"
#include "core/tensor/view.h"

namespace sage {

// tr(E H E^T) / tr(W H W^T), E = W - decoded, H the Gram of the layer's inputs x_t without damping: with H = sum_t x_t x_t^T
//   sum_t |E x_t|^2 / sum_t |W x_t|^2
// Any factor of H cancels. The same definition for every method, compensated or not: a compensator's own loss has the damped
// Gram and stands in other coordinates where a transform or an order of columns is in use.
//
// w, decoded: n x m. gram: m x m, of which the upper triangle is read. Absent where tr(W H W^T) is not a positive number: the
// layer puts nothing out on these inputs. Cost: 2 n m^2 multiplications and additions, products in FP32, sums of them in
// double, in a fixed order.
std::optional<double> gram_loss(WeightView w, WeightView decoded, WeightView gram, const Backend& backend);

}  // namespace sage
