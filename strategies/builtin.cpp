#include "strategies/builtin.h"

#include "strategies/coder/bitmap.h"
#include "strategies/coder/csr.h"
#include "strategies/coder/delta8.h"
#include "strategies/coder/range.h"
#include "strategies/coder/raw.h"
#include "strategies/compensator/none.h"
#include "strategies/quantizer/binary.h"
#include "strategies/quantizer/multibit.h"
#include "strategies/quantizer/rtn.h"
#include "strategies/transform/hadamard.h"
#include "strategies/transform/none.h"
#include "strategies/transform/scale.h"

namespace sage {

void register_builtin(Registries& r) {
  r.quantizer.add<Multibit>();
  r.quantizer.add<Binary>();
  r.quantizer.add<Rtn>();

  r.transform.add<NoTransform>();
  r.transform.add<ScaleTransform>();
  r.transform.add<HadamardTransform>();

  r.compensator.add<NoCompensation>();

  r.coder.add<RawCoder>();
  r.coder.add<BitmapCoder>();
  r.coder.add<CsrCoder>();
  r.coder.add<Delta8Coder>();
  r.coder.add<RangeCoder>();
}

}  // namespace sage
