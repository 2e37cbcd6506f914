#include "core/pipeline/group_labels.h"
#include "core/pipeline/matrix_engine.h"
#include "core/pipeline/plane_store.h"
#include "core/pipeline/segment_layout.h"
#include "core/util/errors.h"

namespace sage {

Matrix decode_matrix(const PipelineFactory& factory, const QuantizedMatrix& packed, const std::string& name, const Backend& backend) {
  const PlaneHeader header = read_plane_header(packed, name);
  if (header.alternative >= factory.alternatives())
    throw ResourceError("{}: its header asks for pipeline alternative {}; expected one of the recipe's {}; the packed file does not match its config.json", name,
                        header.alternative, factory.alternatives());
  const Pipeline p = factory.make(header.alternative);
  PlaneReader reader = load_planes(p, header, packed, name);
  const SaliencyMask mask = load_mask(p, header, packed, name);
  Matrix out(packed.rows, packed.cols);

  const SegmentLayout layout = stored_layout(p, packed.cols, reader, name);
  // Decodes into the columns of a set: in place where they stand side by side.
  const auto into = [&](const ColumnSet& set, const auto& decode) {
    if (set.contiguous()) return decode(out.view().columns(set.first(), set.first() + set.size()));
    Matrix part;
    set.gather(out.view(), part);
    decode(part.view());
    set.scatter(part.view(), out.view());
  };
  for (const ColumnSet& set : layout.unsalient) {
    const SaliencyMask part = set.gather(mask);
    const int64_t groups = reader.integer("groups", 1, p.grouping->max_groups(packed.rows, set.size()));
    GroupMap map = p.grouping->layout(packed.rows, set.size(), groups);
    if (!map.implied) {
      if (groups > 1) fill_labels(map, unsalient_of(part), reader);
      else map = GroupMap::single(packed.rows, set.size());
    }
    into(set, [&](View<float> columns) { p.quantizer->decode(reader, unsalient_of(part), map, columns); });
  }
  reader.set_prefix(kSalientPlanePrefix);
  for (const ColumnSet& set : layout.salient) {
    const SaliencyMask part = set.gather(mask);
    if (part.count() == 0) continue;
    into(set, [&](View<float> columns) {
      p.salient_quantizer->decode(reader, salient_of(part), GroupMap::single(packed.rows, set.size()), columns);
    });
  }
  reader.set_prefix("");
  p.transform->invert(reader, out.view(), backend);
  reader.expect_consumed();
  return out;
}

}  // namespace sage
