// The output head: negative log-likelihoods and divergences against plain double code.
#include "tests/kernels/support.h"

namespace sage::test {
namespace {

class Head : public BackendTest {};
INSTANTIATE_TEST_SUITE_P(Backends, Head, testing::ValuesIn(backend_names()), test_name);

std::vector<double> log_softmax(const float* hidden, WeightView head) {
  std::vector<double> l(static_cast<size_t>(head.rows));
  double largest = -HUGE_VAL, sum = 0;
  for (int64_t i = 0; i < head.rows; ++i) {
    double dot = 0;
    for (int64_t d = 0; d < head.cols; ++d)
      dot += static_cast<double>(hidden[d]) * head(i, d);
    l[static_cast<size_t>(i)] = dot;
    largest = std::max(largest, dot);
  }
  for (double x : l)
    sum += std::exp(x - largest);
  for (double& x : l)
    x -= largest + std::log(sum);
  return l;
}

struct Case {
  int64_t positions, vocabulary, dim;
};
std::vector<Case> cases(const std::string& backend) {
  return {{1, 1, 1},    {3, 5, 7}, {1, 1500, 16}, {65, 1023, 8}, {is_emulated(backend) ? 140 : 300, 1025, 33},
          {17, 4100, 64}, {0, 9, 4}};
}

TEST_P(Head, NegativeLogLikelihood) {
  for (const Case& c : cases(GetParam())) {
    SCOPED_TRACE(testing::Message() << c.positions << " x " << c.vocabulary << " x " << c.dim << " seed " << seed());
    Padded hidden(c.positions, c.dim, 2), head(c.vocabulary, c.dim, 1);
    fill_normal(hidden.view(), 1);
    fill_normal(head.view(), 2);
    Rng rng(seed(), uint64_t{3});
    std::vector<int32_t> target, top(static_cast<size_t>(c.positions));
    for (int64_t t = 0; t < c.positions; ++t)
      target.push_back(t % 4 == 3 ? -1 : static_cast<int32_t>(rng.below(static_cast<uint64_t>(c.vocabulary))));
    std::vector<double> nll(static_cast<size_t>(c.positions), -1), without_top(nll);
    backend_->head_nll(hidden.view(), head.view(), target, nll, top);
    backend_->head_nll(hidden.view(), head.view(), target, without_top, {});
    for (size_t t = 0; t < nll.size(); ++t) {
      const std::vector<double> l = log_softmax(hidden.view().row(static_cast<int64_t>(t)), head.view());
      if (target[t] < 0) {
        EXPECT_EQ(nll[t], 0);
      } else {
        EXPECT_NEAR(nll[t], -l[static_cast<size_t>(target[t])], 2e-6 * (1 + std::fabs(nll[t])));
      }
      EXPECT_NEAR(nll[t], without_top[t], 2e-6 * (1 + nll[t]));
      // Two logits may be equal to within rounding: the one named must be as large as the largest.
      EXPECT_NEAR(l[static_cast<size_t>(top[t])], *std::max_element(l.begin(), l.end()), 1e-5);
    }
  }
}

TEST_P(Head, ClosedForms) {
  // A zero hidden state makes every token equally likely, and the first one the top.
  Matrix hidden = Matrix::zeros(2, 4), head(3000, 4);
  fill_normal(head.view(), 4);
  const std::vector<int32_t> target = {2999, 0};
  std::vector<double> nll(2);
  std::vector<int32_t> top(2);
  backend_->head_nll(hidden.view(), head.view(), target, nll, top);
  for (double x : nll)
    EXPECT_NEAR(x, std::log(3000.0), 1e-9);
  for (int32_t t : top)
    EXPECT_EQ(t, 0);
  // One token 80 above the rest: its own likelihood is one, any other's exp(-80).
  Matrix one = Matrix::zeros(2, 1), steep = Matrix::zeros(2000, 1);
  one(0, 0) = one(1, 0) = 1;
  steep(1500, 0) = 80;
  const std::vector<int32_t> ids = {1500, 3};
  backend_->head_nll(one.view(), steep.view(), ids, nll, top);
  EXPECT_NEAR(nll[0], 0.0, 1e-9);
  EXPECT_NEAR(nll[1], 80.0, 1e-9);
  EXPECT_EQ(top[0], 1500);
}

TEST_P(Head, RefusesTargetsOutsideTheVocabulary) {
  Matrix hidden = Matrix::zeros(1, 2), head = Matrix::zeros(3, 2);
  std::vector<double> nll(1);
  EXPECT_THROW(backend_->head_nll(hidden.view(), head.view(), std::vector<int32_t>{3}, nll, {}), Error);
}

TEST_P(Head, NanIsNotHidden) {
  Matrix hidden(1, 2), head(40, 2);
  fill_normal(head.view(), 5);
  hidden(0, 0) = std::nanf("");
  hidden(0, 1) = 1;
  std::vector<double> nll(1);
  backend_->head_nll(hidden.view(), head.view(), std::vector<int32_t>{3}, nll, {});
  EXPECT_TRUE(std::isnan(nll[0]));
}

TEST_P(Head, Divergence) {
  for (const Case& c : cases(GetParam())) {
    SCOPED_TRACE(testing::Message() << c.positions << " x " << c.vocabulary << " x " << c.dim << " seed " << seed());
    Padded a(c.positions, c.dim, 2), b(c.positions, c.dim, 0), head_a(c.vocabulary, c.dim, 1), head_b(c.vocabulary, c.dim, 3);
    fill_normal(a.view(), 6);
    fill_normal(b.view(), 7);
    fill_normal(head_a.view(), 8);
    fill_normal(head_b.view(), 8);
    std::vector<double> kl(static_cast<size_t>(c.positions));
    std::vector<uint8_t> agree(kl.size(), 9);
    backend_->head_divergence(a.view(), head_a.view(), b.view(), head_b.view(), kl, agree);
    for (size_t t = 0; t < kl.size(); ++t) {
      const auto row = static_cast<int64_t>(t);
      const std::vector<double> p = log_softmax(a.view().row(row), head_a.view()),
                                q = log_softmax(b.view().row(row), head_b.view());
      double expected = 0;
      for (size_t i = 0; i < p.size(); ++i)
        expected += std::exp(p[i]) * (p[i] - q[i]);
      EXPECT_NEAR(kl[t], expected, 5e-6 * (1 + expected));
      const auto top_p = std::max_element(p.begin(), p.end()) - p.begin(),
                 top_q = std::max_element(q.begin(), q.end()) - q.begin();
      EXPECT_EQ(agree[t], top_p == top_q ? 1 : 0);
    }
    std::vector<int32_t> target(kl.size());
    for (size_t t = 0; t < target.size(); ++t) target[t] = t % 5 == 4 ? -1 : static_cast<int32_t>((t * 7) % static_cast<size_t>(c.vocabulary));
    std::vector<double> nll(kl.size(), 99), alone(kl.size());
    backend_->head_divergence(b.view(), head_b.view(), a.view(), head_a.view(), kl, agree, target, nll);
    backend_->head_nll(a.view(), head_a.view(), target, alone, {});
    for (size_t t = 0; t < kl.size(); ++t) EXPECT_NEAR(nll[t], alone[t], 1e-6 * (1 + std::abs(alone[t])));
    backend_->head_divergence(a.view(), head_a.view(), a.view(), head_a.view(), kl, agree);
    for (size_t t = 0; t < kl.size(); ++t) {
      EXPECT_NEAR(kl[t], 0.0, 1e-6);
      EXPECT_EQ(agree[t], 1);
    }
  }
}

TEST_P(Head, ResultsDoNotDependOnThreads) {
  const int64_t positions = is_emulated(GetParam()) ? 70 : 300;
  const auto n = static_cast<size_t>(positions);
  Matrix hidden(positions, 32), other(positions, 32), head(3000, 32);
  fill_normal(hidden.view(), 9);
  fill_normal(other.view(), 10);
  fill_normal(head.view(), 11);
  const std::vector<int32_t> target(n, 5);
  auto run = [&](int count) {
    const Threads threads(count);
    std::vector<double> out(2 * n);
    std::vector<uint8_t> agree(n);
    backend_->head_nll(hidden.view(), head.view(), target, std::span(out).first(n), {});
    backend_->head_divergence(hidden.view(), head.view(), other.view(), head.view(), std::span(out).last(n), agree);
    return out;
  };
  const std::vector<double> one = run(1);
  EXPECT_TRUE(run(2) == one);
  EXPECT_TRUE(run(3) == one);
}

}  // namespace
}  // namespace sage::test
