// Tiled causal attention with an online softmax (Milakov & Gimelshein 2018, arXiv:1805.02867; tiling as in Dao et al. 2022,
// arXiv:2205.14135). Memory: packed copies of k and v, and per thread one tile of scores and outputs.
#include <limits>

#include "kernels/cpu/operations.h"
#include "kernels/cpu/tasks.h"
#include "kernels/shapes.h"

namespace sage::cpu {

// One task: the query heads that share a key head, times a tile of positions; key tiles later than its last position, or
// before its first window, are skipped. About 2 T^2 heads head_dim operations (half of them for each product), causal.
void CpuBackend::attention(WeightView q, WeightView k, WeightView v, const AttentionShape& s, View<float> out) const {
  shapes::attention(q, k, v, s, out);
  const int64_t length = q.rows, dim = s.head_dim, padded = (dim + 15) / 16 * 16;
  const int64_t per_kv = s.heads / s.kv_heads, tiles = (length + kKeyTile - 1) / kKeyTile;
  if (length == 0) return;

  // Keys transposed within a tile (dim x 64), values as they are (64 x padded); ragged ends are zeros.
  const int64_t key_size = dim * kKeyTile, value_size = padded * kKeyTile;
  Matrix keys(s.kv_heads * tiles, key_size), values(s.kv_heads * tiles, value_size);
  for_tasks(s.kv_heads * tiles, [&](int64_t t, int) {
    const int64_t column = t / tiles * dim, first = t % tiles * kKeyTile, count = std::min<int64_t>(kKeyTile, length - first);
    float *key = keys.row(t), *value = values.row(t);
    for (int64_t p = 0; p < kKeyTile; ++p) {
      for (int64_t d = 0; d < dim; ++d)
        key[d * kKeyTile + p] = p < count ? k(first + p, column + d) : 0.0f;
      for (int64_t d = 0; d < padded; ++d)
        value[p * padded + d] = p < count && d < dim ? v(first + p, column + d) : 0.0f;
    }
  });

  const int64_t query_tile = per_kv == 1 ? 64 : per_kv == 2 ? 48 : 24;
  const int64_t query_tiles = (length + query_tile - 1) / query_tile;
  const int64_t rows = per_kv * query_tile;
  const int64_t scratch = query_tile * kKeyTile + rows * padded + 2 * rows;
  Matrix memory(thread_limit(s.kv_heads * query_tiles), (scratch + 15) / 16 * 16);
  for_tasks(s.kv_heads * query_tiles, [&](int64_t t, int thread) {
    // The last positions have the most keys: they go first, so that no thread is left alone with one of them.
    const int64_t kv = t % s.kv_heads, q0 = (query_tiles - 1 - t / s.kv_heads) * query_tile;
    const int64_t positions = std::min(query_tile, length - q0);
    float* score = memory.row(thread);
    float* sum = score + query_tile * kKeyTile;
    float* largest = sum + rows * padded;
    float* total = largest + rows;
    std::fill(sum, sum + rows * padded, 0.0f);
    std::fill(largest, largest + rows, -std::numeric_limits<float>::infinity());
    std::fill(total, total + rows, 0.0f);
    const int64_t first_key = s.window > 0 ? std::max<int64_t>(0, q0 + 1 - s.window) : 0;
    for (int64_t tile = first_key / kKeyTile; tile * kKeyTile < q0 + positions; ++tile) {
      const int64_t k0 = tile * kKeyTile;
      const float* key = keys.row(kv * tiles + tile);
      const float* value = values.row(kv * tiles + tile);
      for (int64_t g = 0; g < per_kv; ++g) {
        k_.tile_product(q.row(q0) + (kv * per_kv + g) * dim, q.ld, key, kKeyTile, score, kKeyTile, static_cast<int>(positions),
                        kKeyTile, static_cast<int>(dim), false);
        for (int64_t p = 0; p < positions; ++p) {
          const int64_t position = q0 + p, row = g * query_tile + p;
          const int64_t first = s.window > 0 ? std::clamp<int64_t>(position + 1 - s.window - k0, 0, kKeyTile) : 0;
          const int64_t last = std::clamp<int64_t>(position + 1 - k0, 0, kKeyTile);
          k_.softmax_step(score + p * kKeyTile, kKeyTile, static_cast<int>(first), static_cast<int>(last), s.scale,
                          largest + row, total + row, sum + row * padded, static_cast<int>(padded));
        }
        k_.tile_product(score, kKeyTile, value, padded, sum + g * query_tile * padded, padded, static_cast<int>(positions),
                        static_cast<int>(padded), kKeyTile, true);
      }
    }
    for (int64_t g = 0; g < per_kv; ++g) {
      for (int64_t p = 0; p < positions; ++p) {
        const int64_t row = g * query_tile + p;
        const float scale = 1.0f / total[row];
        float* target = out.row(q0 + p) + (kv * per_kv + g) * dim;
        for (int64_t d = 0; d < dim; ++d)
          target[d] = sum[row * padded + d] * scale;
      }
    }
  });
}

}  // namespace sage::cpu
