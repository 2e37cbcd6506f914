// The tiled attention kernel at every kind of edge: head sizes, tile borders, windows, where matrices lie, what tiles are
// skipped.
#include "kernels/cuda/attention_kernels.h"
#include "tests/cuda/device_view.h"
#include "tests/support/expect_error.h"

namespace sage::test {
namespace {

Matrix naive_attention(const Matrix& q, const Matrix& k, const Matrix& v, const AttentionShape& s) {
  Matrix out(q.rows(), q.cols());
  std::vector<double> weight(static_cast<size_t>(q.rows()));
  for (int64_t t = 0; t < q.rows(); ++t)
    for (int h = 0; h < s.heads; ++h) {
      const int64_t qc = int64_t{h} * s.head_dim, kc = int64_t{h / (s.heads / s.kv_heads)} * s.head_dim;
      const int64_t first = s.window > 0 ? std::max<int64_t>(0, t + 1 - s.window) : 0;
      double total = 0;
      for (int64_t u = first; u <= t; ++u) {
        double dot = 0;
        for (int d = 0; d < s.head_dim; ++d)
          dot += double{q(t, qc + d)} * k(u, kc + d);
        total += weight[static_cast<size_t>(u)] = std::exp(dot * s.scale);
      }
      for (int d = 0; d < s.head_dim; ++d) {
        double sum = 0;
        for (int64_t u = first; u <= t; ++u)
          sum += weight[static_cast<size_t>(u)] * v(u, kc + d);
        out(t, qc + d) = static_cast<float>(sum / total);
      }
    }
  return out;
}

class CudaAttention : public testing::Test {
 protected:
  Matrix run(const Matrix& q, const Matrix& k, const Matrix& v, const AttentionShape& s) {
    Matrix out(q.rows(), q.cols());
    backend_->attention(q.view(), k.view(), v.view(), s, out.view());
    return out;
  }
  const std::unique_ptr<Backend> backend_ = make_cuda_on_cpu_backend();
};

TEST_F(CudaAttention, EveryHeadSizeAtTileBorders) {
  for (int head_dim : {1, 2, 3, 30, 31, 32, 33, 63, 64, 65, 80, 96, 100, 127, 128, 129, 130, 192, 255, 256})
    for (int64_t length : head_dim == 33 || head_dim == 130 ? std::vector<int64_t>{1, 2, 31, 32, 33, 63, 64, 65, 97}
                                                            : std::vector<int64_t>{65}) {
      const AttentionShape s{2, 1, head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim)), 0};
      SCOPED_TRACE(testing::Message() << "heads of " << head_dim << ", " << length << " positions, seed " << seed());
      const Matrix q = normal_matrix(length, 2 * head_dim, 80, 1.5), k = normal_matrix(length, head_dim, 81, 1.5),
                   v = normal_matrix(length, head_dim, 82);
      ASSERT_LT(nmse(naive_attention(q, k, v, s).view(), run(q, k, v, s).view()), 1e-11);
    }
}

TEST_F(CudaAttention, WindowsOfEveryKind) {
  for (int head_dim : {16, 200})  // tiles of 64 and of 32
    for (int64_t length : {64, 193})
      for (int window : head_dim == 16 ? std::vector<int>{1, 2, 31, 63, 64, 65, 66, 127, 128, 129, 1000}
                                       : std::vector<int>{31, 32, 33, 65}) {
        const AttentionShape s{1, 1, head_dim, 0.2f, window};
        SCOPED_TRACE(testing::Message() << "heads of " << head_dim << ", " << length << " positions, window " << window
                                        << ", seed " << seed());
        const Matrix q = normal_matrix(length, head_dim, 83), k = normal_matrix(length, head_dim, 84),
                     v = normal_matrix(length, head_dim, 85);
        ASSERT_LT(nmse(naive_attention(q, k, v, s).view(), run(q, k, v, s).view()), 1e-11);
      }
}

TEST_F(CudaAttention, HeadsShareKeys) {
  for (int kv_heads : {1, 2, 3, 6, 12}) {
    const AttentionShape s{12, kv_heads, 20, 0.3f, 0};
    const Matrix q = normal_matrix(70, 240, 86), k = normal_matrix(70, kv_heads * 20, 87),
                 v = normal_matrix(70, kv_heads * 20, 88);
    EXPECT_LT(nmse(naive_attention(q, k, v, s).view(), run(q, k, v, s).view()), 1e-11) << kv_heads << " seed " << seed();
  }
}

TEST_F(CudaAttention, ResultsDoNotDependOnWhereMatricesLie) {
  for (int head_dim : {4, 30, 64, 132}) {
    const AttentionShape s{2, 1, head_dim, 0.25f, 50};
    const Matrix q = normal_matrix(66, 2 * head_dim, 89), k = normal_matrix(66, head_dim, 90),
                 v = normal_matrix(66, head_dim, 91);
    const Matrix expected = run(q, k, v, s);
    for (const Placement& p : placements())
      for (int which = 0; which < 4; ++which) {  // the matrix that lies so; the others begin at 16 bytes
        SCOPED_TRACE(testing::Message() << "heads of " << head_dim << ", matrix " << which << " at " << p.offset << "+"
                                        << p.extra);
        const Placement good{4, 4};
        const DeviceView dq(*backend_, q.view(), which == 0 ? p : good), dk(*backend_, k.view(), which == 1 ? p : good),
            dv(*backend_, v.view(), which == 2 ? p : good), out(*backend_, q.view(), which == 3 ? p : good);
        backend_->attention(dq.view(), dk.view(), dv.view(), s, out.view());
        ASSERT_TRUE(same_bits(expected, out.host()));
        ASSERT_TRUE(out.margin_intact());
        if (which != 0) continue;
        backend_->attention(dq.view(), dk.view(), dv.view(), s, dq.view());
        ASSERT_TRUE(same_bits(expected, dq.host())) << "onto the queries";
      }
  }
}

// Equal scores weigh all seen positions alike: the result is a mean. v[u] = u, so it is half of first + last.
TEST_F(CudaAttention, EqualScoresGiveMeans) {
  const int64_t length = 150;
  Matrix q = normal_matrix(length, 8, 92), k(length, 8), v(length, 8);
  for (int64_t u = 0; u < length; ++u)
    for (int64_t d = 0; d < 8; ++d) {
      k(u, d) = static_cast<float>(d);
      v(u, d) = static_cast<float>(u);
    }
  for (int window : {0, 1, 10, 64, 100}) {
    const Matrix out = run(q, k, v, {1, 1, 8, 0.7f, window});
    for (int64_t t = 0; t < length; ++t) {
      const auto first = static_cast<double>(window > 0 ? std::max<int64_t>(0, t + 1 - window) : 0);
      for (int64_t d = 0; d < 8; ++d)
        EXPECT_NEAR(out(t, d), (first + static_cast<double>(t)) / 2, 1e-4) << t << " window " << window;
    }
  }
  std::fill(v.data(), v.data() + v.size(), 0x1p-149f);
  const Matrix least = run(q, k, v, {1, 1, 8, 0.7f, 0});
  for (int64_t t = 0; t < length; ++t)
    EXPECT_EQ(least(t, 0), 0x1p-149f) << "denormals are numbers";
}

// A score far above the others takes all the weight, wherever in the tiles it comes; exp never overflows.
TEST_F(CudaAttention, TheLargestScoreWins) {
  const int64_t length = 140;
  for (int64_t winner : {0, 15, 16, 63, 64, 100, 139}) {
    Matrix q(length, 2), k(length, 2), v = normal_matrix(length, 2, 93);
    for (int64_t u = 0; u < length; ++u) {
      q(u, 0) = 1, q(u, 1) = 0;
      k(u, 0) = u == winner ? 3e4f : -3e4f, k(u, 1) = 0;
    }
    const Matrix out = run(q, k, v, {1, 1, 2, 100.0f, 0});
    for (int64_t t = winner; t < length; ++t)
      EXPECT_EQ(out(t, 0), v(winner, 0)) << t << " " << winner;
  }
}

// What is not seen does not matter, to the bit: later tiles, and tiles before the window, may hold anything.
TEST_F(CudaAttention, TilesOutOfSightAreNotRead) {
  const AttentionShape s{1, 1, 24, 0.3f, 40};
  Matrix q = normal_matrix(256, 24, 94), k = normal_matrix(256, 24, 95), v = normal_matrix(256, 24, 96);
  const Matrix expected = run(q, k, v, s);
  for (int64_t u = 0; u < 256; ++u)
    if (u < 64 || u >= 192)  // out of sight for the tile of positions 128 .. 191
      for (int64_t d = 0; d < 24; ++d)
        k(u, d) = v(u, d) = std::nanf("");
  const Matrix out = run(q, k, v, s);
  EXPECT_TRUE(same_bits(expected.view().row_range(128, 192), out.view().row_range(128, 192)));
  for (int64_t t = 0; t < 256; ++t)
    if (t < 103 || t >= 192) {  // it sees one
      EXPECT_TRUE(std::isnan(out(t, 0))) << t << ": a NaN must not be hidden";
    }
}

TEST_F(CudaAttention, ANanQueryStaysInItsRowAndHead) {
  Matrix q = normal_matrix(70, 48, 97), k = normal_matrix(70, 24, 98), v = normal_matrix(70, 24, 99);
  q(33, 24 + 7) = std::nanf("");
  const Matrix out = run(q, k, v, {2, 1, 24, 0.3f, 0});
  for (int64_t t = 0; t < 70; ++t)
    for (int64_t d = 0; d < 48; ++d)
      EXPECT_EQ(std::isnan(out(t, d)), t == 33 && d >= 24) << t << " " << d;
}

TEST_F(CudaAttention, HeadsThatAreTooLongAreRefused) {
  const Matrix x = normal_matrix(3, 257, 100);
  Matrix out(3, 257);
  const AttentionShape longer{1, 1, 257, 1.0f, 0};
  const std::string text =
      message_of<ResourceError>([&] { backend_->attention(x.view(), x.view(), x.view(), longer, out.view()); });
  EXPECT_NE(text.find("heads of 257 values; expected at most 256; use --device cpu"), std::string::npos) << text;
  // What is asked before the work gets the answer of the work.
  EXPECT_EQ(message_of<ResourceError>([&] { backend_->require_attention(longer); }), text);
  EXPECT_NO_THROW(backend_->require_attention({1, 1, 256, 1.0f, 0}));
}

}  // namespace
}  // namespace sage::test
