// Matrices with known statistics, for tests.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/tensor/view.h"

namespace sage::test {

// Square matrices of 2^bits entries that need no random numbers, so that every implementation can make the same ones.
// Element (i, j) is F^-1((pi(k) + 1/2) / 2^bits) with k = i * 2^(bits/2) + j, pi a fixed bijective bit mix of 0 .. 2^bits - 1
// and F the distribution function: the sample is its own quantile table in scrambled order. Computed in double, kept in float.
// bits is even, 2 .. 30. Unit variance in the limit; the mean is zero by symmetry.
Matrix fixture_normal(int bits = 20);
Matrix fixture_laplace(int bits = 20);  // density exp(-sqrt(2) |x|) / sqrt(2)

// pi(k) of the fixtures.
uint64_t fixture_permutation(uint64_t k, int bits);

// The inverse of the standard normal distribution function, to double precision.
double normal_quantile(double p);
// The standard normal distribution function and density.
double normal_cdf(double x);
double normal_density(double x);

// Random matrices of unit root mean square, from a seed. Kinds: "gauss"; "tNU" (Student-t with NU degrees of freedom, e.g.
// "t5"); "lapmix" (Laplace, a tenth of the entries times 2.5); with the suffix "+s" ("t10+s") rows times exp(0.25 z), columns
// times exp(0.15 z), and 0.4 % of the columns times a factor uniform in 2 .. 5: the nearest of them to a language model's
// weights.
Matrix make_random(std::string_view kind, int64_t rows, int64_t cols, uint64_t seed = 0);

}  // namespace sage::test
