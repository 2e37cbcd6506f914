#include "core/pipeline/export_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <vector>

#include "core/pipeline/model_folder.h"
#include "core/pipeline/packed_config.h"
#include "core/util/errors.h"
#include "core/util/files.h"
#include "core/util/half.h"
#include "core/util/log.h"
#include "core/util/output_path.h"

namespace sage {
namespace {

constexpr int64_t kPiece = int64_t{1} << 18;  // elements of a tensor converted at a time

const char* torch_name(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16";
}

// What narrowing took from the numbers of one tensor.
struct Losses {
  int64_t infinite = 0;  // were finite
  int64_t zeroed = 0;    // were not zero
  int64_t rounded = 0;   // below the normal range of the dtype, and changed
};

// Hands numbers over as `dtype`, counting what does not fit.
class Narrower {
 public:
  Narrower(DType dtype, const ByteSink& sink) : dtype_(dtype), sink_(sink) {}
  void write(std::span<const float> values) {
    if (dtype_ == DType::kF32) return sink_(std::as_bytes(values));
    const bool half = dtype_ == DType::kF16;
    const float least_normal = half ? 0x1p-14f : 0x1p-126f;
    out_.resize(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const float v = values[i];
      out_[i] = half ? float_to_half(v) : float_to_bfloat16(v);
      const float stored = half ? half_to_float(out_[i]) : bfloat16_to_float(out_[i]);
      if (std::isinf(stored) && std::isfinite(v)) ++losses_.infinite;
      if (std::fabs(v) >= least_normal || stored == v) continue;
      ++(stored == 0 ? losses_.zeroed : losses_.rounded);
    }
    sink_(std::as_bytes(std::span<const uint16_t>(out_)));
  }
  const Losses& losses() const { return losses_; }

 private:
  DType dtype_;
  const ByteSink& sink_;
  std::vector<uint16_t> out_;
  Losses losses_;
};

class Exporter {
 public:
  Exporter(const PackedSource& source, std::optional<DType> dtype) : source_(source), dtype_(dtype) {
    const Family* family = recognised_family(source.config());
    if (family != nullptr)
      for (const ExpectedTensor& t : expected_tensors(*family, source.config())) part_of_model_.insert(t.name);
  }

  void add_all(SafetensorsWriter& writer, Progress& progress) {
    for (const std::string& name : source_.names()) {
      const bool packed = source_.sites().count(name) > 0;
      const DType before = packed ? source_.source_dtype(name) : source_.tensor_files().at(name).tensor->dtype;
      // Tensors no one reads may be anything, also integers.
      const DType dtype = dtype_ && (packed || part_of_model_.count(name) > 0) ? *dtype_ : before;
      if (packed)
        writer.add(name, dtype, source_.shape(name), [this, &progress, name, dtype](const ByteSink& sink) {
          const Matrix w = source_.load_linear(name);
          Narrower narrow(dtype, sink);
          for (int64_t at = 0; at < w.size(); at += kPiece)
            narrow.write({w.data() + at, static_cast<size_t>(std::min(kPiece, w.size() - at))});
          settle(name, dtype, narrow.losses());
          progress.advance(1, name);
        });
      else
        add_kept(writer, name, dtype);
    }
  }

  void warn() const {
    if (zeroed_.values > 0)
      log_warning("export: {} numbers of {} tensors (first {}) are too small for the dtype they are written as and became zero, {} more lost bits; "
                  "--dtype BF16 or F32 keeps them",
                  zeroed_.values, zeroed_.tensors, zeroed_.first, rounded_.values);
    else if (rounded_.values > 0)
      log_info("export: {} numbers of {} tensors (first {}) lie below the normal range of the dtype they are written as and lost bits", rounded_.values,
               rounded_.tensors, rounded_.first);
  }

 private:
  struct Tally {
    int64_t values = 0, tensors = 0;
    std::string first;
    void add(int64_t n, const std::string& name) {
      if (n == 0) return;
      values += n;
      if (tensors++ == 0) first = name;
    }
  };

  void add_kept(SafetensorsWriter& writer, const std::string& name, DType dtype) {
    const TensorFiles::Place at = source_.tensor_files().at(name);
    if (dtype == at.tensor->dtype) {
      writer.add(name, dtype, at.tensor->shape, at.file->bytes(*at.tensor));
      return;
    }
    writer.add(name, dtype, at.tensor->shape, [this, name, dtype, at](const ByteSink& sink) {
      Narrower narrow(dtype, sink);
      std::vector<float> piece;
      for (int64_t first = 0; first < at.tensor->elements(); first += kPiece) {
        piece.resize(static_cast<size_t>(std::min(kPiece, at.tensor->elements() - first)));
        at.file->to_float(*at.tensor, first, piece);
        narrow.write(piece);
      }
      settle(name, dtype, narrow.losses());
    });
  }

  void settle(const std::string& name, DType dtype, const Losses& l) {
    source_.release(name);
    if (l.infinite > 0)
      throw UserError("export: {} of the numbers of '{}' would be infinite as {}; expected a dtype that holds them; add --dtype {}", l.infinite, name,
                      dtype_name(dtype), dtype == DType::kF16 ? "BF16 or --dtype F32" : "F32");
    zeroed_.add(l.zeroed, name);
    rounded_.add(l.rounded, name);
  }

  const PackedSource& source_;
  const std::optional<DType> dtype_;
  std::set<std::string> part_of_model_;
  Tally zeroed_, rounded_;
};

}  // namespace

void export_dequantized(const PackedSource& source, const std::string& folder, std::optional<DType> dtype) {
  if (dtype && *dtype != DType::kF16 && *dtype != DType::kF32 && *dtype != DType::kBF16)
    throw UserError("export: dtype {}; expected F16, BF16 or F32", dtype_name(*dtype));
  FolderInProgress out(new_output_path(folder));
  SafetensorsWriter writer;
  writer.set_metadata("format", "pt");
  Progress progress("export", static_cast<double>(source.sites().size()), "matrices");
  Exporter exporter(source, dtype);
  exporter.add_all(writer, progress);
  writer.write(out.path() + "/model.safetensors");
  progress.finish();
  exporter.warn();
  write_file_atomically(out.path() + "/config.json", exported_config(source.config(), dtype ? torch_name(*dtype) : "").dump(2) + "\n");
  copy_side_files(source.folder(), out.path());
  out.commit();
}

}  // namespace sage
