#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/model/safetensors.h"
#include "core/model/safetensors_header.h"
#include "core/util/errors.h"

namespace sage {

void SafetensorsWriter::add(std::string name, DType dtype, std::vector<int64_t> shape, ByteProvider provider) {
  uint64_t bytes = 0;
  if (!tensor_bytes(shape, dtype, &bytes))
    throw Error(ExitCode::kInternalError,
                fmt::format("safetensors writer: tensor {} has an impossible shape", quoted_name(name)));
  entries_.push_back({std::move(name), dtype, std::move(shape), bytes, std::move(provider)});
}

void SafetensorsWriter::add(std::string name, DType dtype, std::vector<int64_t> shape, std::span<const std::byte> bytes) {
  add(std::move(name), dtype, std::move(shape), [bytes](const ByteSink& sink) { sink(bytes); });
}

std::vector<const SafetensorsWriter::Entry*> SafetensorsWriter::payload_order() const {
  std::vector<const Entry*> order;
  for (const Entry& e : entries_)
    order.push_back(&e);
  std::stable_sort(order.begin(), order.end(),
                   [](const Entry* a, const Entry* b) { return dtype_bytes(a->dtype) > dtype_bytes(b->dtype); });
  return order;
}

std::string SafetensorsWriter::header(const std::vector<const Entry*>& order) const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  std::vector<std::string> names;
  if (!metadata_.empty()) json["__metadata__"] = metadata_;
  uint64_t at = 0;
  for (const Entry* e : order) {
    names.push_back(e->name);
    // emplace would search all earlier names; duplicates are looked for once, below.
    json.get_ref<nlohmann::ordered_json::object_t&>().push_back(
        {e->name, {{"dtype", dtype_name(e->dtype)}, {"shape", e->shape}, {"data_offsets", {at, at + e->bytes}}}});
    at += e->bytes;
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end() || std::binary_search(names.begin(), names.end(), "__metadata__"))
    throw Error(ExitCode::kInternalError, fmt::format("safetensors writer: tensor name {} twice or reserved",
                                                      quoted_name(twice != names.end() ? *twice : "__metadata__")));
  std::string text = json.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxSafetensorsHeader)
    throw RunError("safetensors writer: header of {} bytes; the format allows {}; write fewer tensors per file", text.size(),
                   kMaxSafetensorsHeader);
  return text;
}

SafetensorsSizes SafetensorsWriter::sizes() const {
  SafetensorsSizes s;
  s.header_bytes = 8 + header(payload_order()).size();
  for (const Entry& e : entries_)
    s.payload_bytes += e.bytes;
  return s;
}

SafetensorsSizes SafetensorsWriter::write(const std::string& path) const {
  const std::vector<const Entry*> order = payload_order();
  const std::string json = header(order);
  AtomicFile file(path);
  char length[8];
  for (int i = 0; i < 8; ++i)
    length[i] = static_cast<char>(json.size() >> (8 * i) & 0xff);
  file.write(std::string_view(length, 8));
  file.write(json);
  SafetensorsSizes s{file.bytes_written(), 0};
  for (const Entry* e : order) {
    uint64_t got = 0;
    e->provider([&](std::span<const std::byte> piece) {
      got += piece.size();
      if (got <= e->bytes) file.write(piece);
    });
    if (got != e->bytes)
      throw Error(ExitCode::kInternalError, fmt::format("{}: tensor {}: {} bytes were provided, its shape needs {}", path,
                                                        quoted_name(e->name), got, e->bytes));
    s.payload_bytes += got;
  }
  file.commit();
  return s;
}

}  // namespace sage
