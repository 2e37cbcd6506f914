#include "strategies/builtin.h"

#include "strategies/coder/bitmap.h"
#include "strategies/coder/csr.h"
#include "strategies/coder/delta8.h"
#include "strategies/coder/range.h"
#include "strategies/coder/raw.h"
#include "strategies/compensator/block.h"
#include "strategies/compensator/gptq.h"
#include "strategies/compensator/none.h"
#include "strategies/grouping/equal_count.h"
#include "strategies/grouping/fixed.h"
#include "strategies/grouping/kmeans.h"
#include "strategies/grouping/max_fraction_split.h"
#include "strategies/grouping/percentile_split.h"
#include "strategies/grouping/positional.h"
#include "strategies/grouping/single.h"
#include "strategies/grouping/spectral.h"
#include "strategies/quantizer/binary.h"
#include "strategies/quantizer/keep.h"
#include "strategies/quantizer/multibit.h"
#include "strategies/quantizer/pb_binary.h"
#include "strategies/quantizer/prune.h"
#include "strategies/quantizer/residual_binary.h"
#include "strategies/quantizer/uniform.h"
#include "strategies/saliency/columns.h"
#include "strategies/saliency/hessian.h"
#include "strategies/saliency/hessian_inverse_diag.h"
#include "strategies/saliency/magnitude.h"
#include "strategies/saliency/none.h"
#include "strategies/saliency/random.h"
#include "strategies/saliency/sigma.h"
#include "strategies/threshold/brent.h"
#include "strategies/threshold/cap.h"
#include "strategies/threshold/column_count.h"
#include "strategies/threshold/column_search.h"
#include "strategies/threshold/fixed.h"
#include "strategies/threshold/grid.h"
#include "strategies/threshold/percentile.h"
#include "strategies/transform/hadamard.h"
#include "strategies/transform/none.h"
#include "strategies/transform/scale.h"

namespace sage {

void register_builtin(Registries& r) {
  r.saliency.add<SigmaSaliency>();
  r.saliency.add<MagnitudeSaliency>();
  r.saliency.add<ColumnSaliency>();
  r.saliency.add<HessianSaliency>();
  r.saliency.add<HessianInverseDiagSaliency>();
  r.saliency.add<RandomSaliency>();
  r.saliency.add<NoSaliency>();

  r.grouping.add<SpectralGrouping>();
  r.grouping.add<KMeansGrouping>();
  r.grouping.add<EqualCountGrouping>();
  r.grouping.add<PercentileSplit>();
  r.grouping.add<MaxFractionSplit>();
  r.grouping.add<PositionalGrouping>();
  r.grouping.add<FixedGrouping>();
  r.grouping.add<SingleGroup>();

  r.threshold.add<FixedThreshold>();
  r.threshold.add<CapThreshold>();
  r.threshold.add<GridThreshold>();
  r.threshold.add<BrentThreshold>();
  r.threshold.add<PercentileThreshold>();
  r.threshold.add<ColumnCount>();
  r.threshold.add<ColumnSearch>();

  r.quantizer.add<Multibit>();
  r.quantizer.add<Binary>();
  r.quantizer.add<Uniform>();
  r.quantizer.add<ResidualBinary>();
  r.quantizer.add<PbBinary>();
  r.quantizer.add<Prune>();
  r.quantizer.add<Keep>();

  r.transform.add<NoTransform>();
  r.transform.add<ScaleTransform>();
  r.transform.add<HadamardTransform>();

  r.compensator.add<NoCompensation>();
  r.compensator.add<GptqCompensation>();
  r.compensator.add<BlockCompensation>();
  r.compensator.add<BlockExactCompensation>();

  r.coder.add<RawCoder>();
  r.coder.add<BitmapCoder>();
  r.coder.add<CsrCoder>();
  r.coder.add<Delta8Coder>();
  r.coder.add<RangeCoder>();
}

}  // namespace sage
