// Quantizers: turn the weights they are responsible for into codes and parameters, and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/backend/block_coder.h"
#include "core/strategy/context.h"
#include "core/strategy/planes.h"
#include "core/tensor/mask.h"

namespace sage {

// What a paper's bit formula counts for the owned weights of a block. Totals, not per weight.
struct PaperCount {
  double weight_bits = 0;   // nominal width times owned weights
  double scale_words = 0;   // 16-bit words the paper counts as scaling factors
  double shared_scale_words = 0;  // those among them that do not grow with the number of rows
};

// Symbols of one plane a fitted quantizer will store, for rate estimates of threshold trials: how many of each. An empty histogram
// means that the fit has not counted: where the size depends on it (Coder::size_depends_on_symbols), the engine codes and counts.
struct SymbolCount {
  int alphabet = 2;
  int64_t count = 0;
  std::vector<int64_t> histogram;
  Role role = Role::kCode;  // of the plane: says which coder writes it
};

// A quantizer whose parameters are chosen for one block. Parameters are already rounded to how they will be stored.
class FittedQuantizer {
 public:
  virtual ~FittedQuantizer() = default;
  // Squared error over the owned weights the fit saw, sum (w - what)^2, with the parameters as stored.
  virtual double squared_error() const = 0;
  virtual PaperCount paper_count() const = 0;
  virtual std::vector<SymbolCount> symbol_counts() const = 0;
  virtual int64_t number_count() const = 0;  // real parameters stored
  // Those among them that do not grow with the number of rows (one per column, per group, per matrix): a trial on a sample of the
  // rows pays them once for all rows.
  virtual int64_t shared_number_count() const { return 0; }
  // Called once before the first encode: makes room for the codes. Fits of trials are never coded.
  virtual void start_coding() = 0;
  // Codes the rectangle of the block that begins at (first_row, first_column) and has the shape of w: w holds its weights as they
  // now stand (a compensator may have moved them since the fit); the values the decoder will see go to out (same shape) at the
  // owned positions only. Every position is coded exactly once, in any order; threads may code disjoint rows at the same time.
  // A column lies either in rows ld apart or, one value after another, with ld = 1.
  virtual void encode(WeightView w, int64_t first_row, int64_t first_column, View<float> out) = 0;
  // encode() as data, for backends that code beside the host: the same symbols and values, bit for bit. nullopt: encode() alone can.
  // Called after start_coding(); valid while this lives.
  virtual std::optional<ElementCode> element_code() { return std::nullopt; }
  // What such a backend made of the owned weights of columns first_column, ...: one view per plane, all rows. In place of encode().
  virtual void place_symbols(std::span<const View<const uint8_t>> /*planes*/, int64_t /*first_column*/) {}
  // Appends this block's planes. Called once, after all columns were coded. Symbols are in row-major order of owned weights.
  virtual void emit(PlaneWriter& writer) = 0;
};

class Quantizer {
 public:
  virtual ~Quantizer() = default;
  // `threshold`: the saliency threshold T of the block (0 if none), used by grids that start there.
  virtual std::unique_ptr<FittedQuantizer> fit(const BlockContext& ctx, const Selection& own, const GroupMap& groups,
                                               double threshold) const = 0;
  // Reads one block's planes and writes the owned positions of out. Must equal, bit for bit, what encode wrote.
  virtual void decode(PlaneReader& reader, const Selection& own, const GroupMap& groups, View<float> out) const = 0;
  // Nominal width in bits of an owned weight, as the method's paper counts it (1 for signs, b for multi-bit codes).
  virtual double nominal_bits() const = 0;
};

}  // namespace sage
