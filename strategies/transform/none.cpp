#include "strategies/transform/none.h"

namespace sage {
namespace {

class FittedIdentity final : public FittedTransform {
 public:
  void apply(View<float>, const Backend&) const override {}
  void apply_to_gram(View<float>, const Backend&) const override {}
  void emit(PlaneWriter&) const override {}
  int64_t number_count() const override { return 0; }
};

}  // namespace

std::unique_ptr<FittedTransform> NoTransform::fit(const BlockContext&) const { return std::make_unique<FittedIdentity>(); }
void NoTransform::invert(PlaneReader&, View<float>, const Backend&) const {}

}  // namespace sage
