// Causal attention of one sequence with an online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867), tiled as in Dao et al.
// 2022, arXiv:2205.14135, in FP32 on the ordinary arithmetic units (no tensor cores: they have no FP32 product).
//
//   out[t] = sum_u p[t][u] v[u] / sum_u p[t][u],  p[t][u] = exp(scale q[t] . k[u] - largest[t]),  t - window < u <= t
//
// Work split: a block takes kQueries positions of one head and goes over tiles of kKeys positions, those outside the causal
// range or the window of all its queries left out. Its threads form a grid of 16 columns; thread (ty, tx) owns the scores of
// queries ty + kRowThreads i and keys tx + 16 j, and the outputs of the same queries in columns 16 kPack c + kPack tx + w. So
// the scores of a query belong to 16 neighbouring lanes, its largest score is known after four shuffles, and sums of weights
// stay with the lanes until the end. The blocks of the last positions, which have the most keys, come first.
//
// Operations: 2 head_dim for each of q . k and p v per pair of positions, half of the pairs masked: about 2 T (T + kKeys) heads
// kDim in all (kDim: head_dim rounded up to 32, 64, 128 or 256), and one exponential per pair. A block reads each key and value
// tile once: T^2 / (2 kQueries) rows of k and of v per head, from the cache, 32 operations to the byte for 64 queries. Bound by
// the FP32 units, if narrowly: for 4 elements of head_dim a warp of the 64 x 64 tiles reads shared memory 8 times, 16 bytes a
// lane, which takes 12 cycles, and makes 64 FMA, which take 16; the 32 x 32 tiles of the longest heads need 8 cycles for both.
//
// Memory: (kQueries + kKeys) (kDim + 4) + kQueries (kKeys + 4) floats of shared memory; 85 KB at most. Rows are padded by 16
// bytes, so that 16-byte accesses down a column of rows spread over all banks.
//
// Deterministic: each sum has one order, given by the shape. A masked weight is an exact zero, and zero times infinity is NaN:
// a value that is not finite shows at every position that sees it, and may show at others of a query tile that reads its key
// tile.
#pragma once

#include "kernels/cuda/attention_kernels.h"
#include "kernels/cuda/device/access.cuh"

namespace KX_NAMESPACE {

template <int kDim_, int kQueries_, int kKeys_, int kRowThreads_>
struct AttentionTile {
  static constexpr int kDim = kDim_;          // head_dim or more; what is beyond it are zeros
  static constexpr int kQueries = kQueries_;  // positions of a block
  static constexpr int kKeys = kKeys_;        // positions of a key tile
  static constexpr int kRowThreads = kRowThreads_;
  static constexpr int kThreads = 16 * kRowThreads;
  static constexpr int kRows = kQueries / kRowThreads;  // queries of a thread
  static constexpr int kColumns = kKeys / 16;           // keys of a thread
  static constexpr int kPack = kDim >= 64 ? 4 : 2;      // neighbouring output columns of a thread
  static constexpr int kPacks = kDim / (16 * kPack);
  static constexpr int kPitch = kDim + 4;
  static constexpr int kWeightPitch = kKeys + 4;
  static constexpr size_t kSharedBytes = sizeof(float) * ((kQueries + kKeys) * kPitch + kQueries * kWeightPitch);
  static_assert(kQueries % kRowThreads == 0 && kKeys % 16 == 0 && kPacks * 16 * kPack == kDim);
};

// tile[r][d] = source[r * ld + d] for r < rows, d < head_dim; 0 elsewhere.
template <class Tile, int kRows, bool kWide>
__device__ __forceinline__ void load_tile(float* tile, const float* source, int64_t ld, int64_t rows, int head_dim) {
  constexpr int kPacks = Tile::kDim / 4;
  for (int p = static_cast<int>(threadIdx.x); p < kRows * kPacks; p += Tile::kThreads) {
    const int r = p / kPacks, d = p % kPacks * 4;
    float v[4] = {};
    if (r < rows) load<4, kWide>(v, source + r * ld + d, head_dim - d);
    store<4, true>(tile + r * Tile::kPitch + d, v, 4);
  }
}

// kWide: the rows of q, k and v can be read in pieces of 16 bytes, heads and all (head_dim % 4 == 0).
template <class Tile, bool kWide>
__global__ void __launch_bounds__(Tile::kThreads) attention_kernel(const sage::cuda::AttentionArguments a) {
  constexpr int kRows = Tile::kRows, kColumns = Tile::kColumns, kPack = Tile::kPack, kPacks = Tile::kPacks;
  constexpr int kPitch = Tile::kPitch, kWeightPitch = Tile::kWeightPitch;
  KX_DYNAMIC_SHARED(float, queries);                // kQueries x kPitch
  float* keys = queries + Tile::kQueries * kPitch;  // kKeys x kPitch: keys, then values of the same positions
  float* weights = keys + Tile::kKeys * kPitch;     // kQueries x kWeightPitch
  const int tx = static_cast<int>(threadIdx.x % 16), ty = static_cast<int>(threadIdx.x / 16);

  const int64_t tiles = (a.length + Tile::kQueries - 1) / Tile::kQueries;
  const int head = static_cast<int>(blockIdx.x % static_cast<unsigned>(a.heads));
  const int64_t q0 = (tiles - 1 - blockIdx.x / static_cast<unsigned>(a.heads)) * Tile::kQueries;
  const int64_t query_column = int64_t{head} * a.head_dim, key_column = int64_t{head / (a.heads / a.kv_heads)} * a.head_dim;
  load_tile<Tile, Tile::kQueries, kWide>(queries, a.q + q0 * a.ldq + query_column, a.ldq, a.length - q0, a.head_dim);

  float sum[kRows][kPacks][kPack] = {}, largest[kRows], total[kRows] = {};
  for (int i = 0; i < kRows; ++i)
    largest[i] = -kx::kInfinity;

  int64_t first_key = 0;
  if (a.window > 0 && q0 + 1 > a.window) first_key = (q0 + 1 - a.window) / Tile::kKeys * Tile::kKeys;
  const int64_t end_key = q0 + Tile::kQueries < a.length ? q0 + Tile::kQueries : a.length;
  for (int64_t k0 = first_key; k0 < end_key; k0 += Tile::kKeys) {
    load_tile<Tile, Tile::kKeys, kWide>(keys, a.k + k0 * a.ldk + key_column, a.ldk, a.length - k0, a.head_dim);
    __syncthreads();

    float score[kRows][kColumns] = {};
    for (int d = 0; d < Tile::kDim; d += 4) {
      float key[kColumns][4];
      for (int j = 0; j < kColumns; ++j)
        load<4, true>(key[j], keys + (tx + 16 * j) * kPitch + d, 4);
      for (int i = 0; i < kRows; ++i) {
        float query[4];
        load<4, true>(query, queries + (ty + Tile::kRowThreads * i) * kPitch + d, 4);
        for (int j = 0; j < kColumns; ++j)
          for (int c = 0; c < 4; ++c)
            score[i][j] += query[c] * key[j][c];
      }
    }
    __syncthreads();  // the keys were read
    load_tile<Tile, Tile::kKeys, kWide>(keys, a.v + k0 * a.ldv + key_column, a.ldv, a.length - k0, a.head_dim);

    const bool masked = k0 + Tile::kKeys - 1 > q0 || (a.window > 0 && k0 <= q0 + Tile::kQueries - 1 - a.window);
    for (int i = 0; i < kRows; ++i) {
      const int row = ty + Tile::kRowThreads * i;
      float top = -kx::kInfinity;
      for (int j = 0; j < kColumns; ++j) {
        score[i][j] *= a.scale;
        if (masked) {
          const int64_t query = q0 + row, key = k0 + tx + 16 * j;
          if (key > query || (a.window > 0 && key <= query - a.window)) score[i][j] = -kx::kInfinity;
        }
        top = fmaxf(top, score[i][j]);
      }
      for (int distance = 8; distance > 0; distance /= 2)
        top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, distance, 16));
      top = fmaxf(top, largest[i]);
      // Where a window begins in a later tile, nothing was seen yet: no -inf - -inf.
      const float base = top == -kx::kInfinity ? 0.0f : top;
      const float keep = expf(largest[i] - base);
      largest[i] = top;
      total[i] *= keep;
      for (int c = 0; c < kPacks; ++c)
        for (int w = 0; w < kPack; ++w)
          sum[i][c][w] *= keep;
      for (int j = 0; j < kColumns; ++j) {
        const float weight = expf(score[i][j] - base);
        total[i] += weight;
        weights[row * kWeightPitch + tx + 16 * j] = weight;
      }
    }
    __syncthreads();

    for (int key = 0; key < Tile::kKeys; key += 4) {
      float weight[kRows][4];
      for (int i = 0; i < kRows; ++i)
        load<4, true>(weight[i], weights + (ty + Tile::kRowThreads * i) * kWeightPitch + key, 4);
      for (int u = 0; u < 4; ++u)
        for (int c = 0; c < kPacks; ++c) {
          float value[kPack];
          load<kPack, true>(value, keys + (key + u) * kPitch + (16 * c + tx) * kPack, kPack);
          for (int i = 0; i < kRows; ++i)
            for (int w = 0; w < kPack; ++w)
              sum[i][c][w] += weight[i][u] * value[w];
        }
    }
    __syncthreads();  // values and weights were read
  }

  for (int i = 0; i < kRows; ++i) {
    for (int distance = 8; distance > 0; distance /= 2)
      total[i] += __shfl_xor_sync(0xffffffffu, total[i], distance, 16);
    const int64_t query = q0 + ty + Tile::kRowThreads * i;
    if (query >= a.length) continue;
    const float by = 1.0f / total[i];
    for (int c = 0; c < kPacks; ++c) {
      const int column = (16 * c + tx) * kPack;
      for (int w = 0; w < kPack; ++w)
        sum[i][c][w] *= by;
      store<kPack, false>(a.out + query * a.ldo + query_column + column, sum[i][c], a.head_dim - column);
    }
  }
}

}  // namespace KX_NAMESPACE
