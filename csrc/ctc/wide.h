// Probabilities that cannot underflow: m * 2^e, with 1 <= m < 2 and an integer exponent of its own.
//
// The CTC recursions add and multiply probabilities that shrink by a factor each frame. Usually they are done
// on logarithms, where each sum costs an exp and a log and a long utterance loses digits (a log of -10000
// leaves float32 three decimals). Here a sum is two shifts of an exponent and an addition, and the relative
// error of a step is half a unit of the mantissa however small the number is. The exponent stays above kZero;
// at kZero the number counts as zero.
#ifndef CTC_WIDE_H_
#define CTC_WIDE_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#ifdef __CUDACC__
#define CTC_INLINE __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define CTC_INLINE inline __attribute__((always_inline))
#else
#define CTC_INLINE inline
#endif

namespace ctc {

constexpr int kZero = -(1 << 28);  // exponent of zero: twice its depth still fits 32 bits
// A score above is no logarithm of a probability, nor of anything near one. So no product of 90,000 of them
// lifts a zero to where it would count.
constexpr double kHighest = 1e3;

template <class Real>
struct Format;  // the layout of a binary floating-point number, and the constants of its exp()

template <>
struct Format<float> {
  using Int = int32_t;
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  static constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
};

template <>
struct Format<double> {
  using Int = int64_t;
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double kLn2High = 6.93145751953125e-1, kLn2Low = 1.42860682030941723212e-6;
};

template <class Real>
using Int = typename Format<Real>::Int;

template <class To, class From>
CTC_INLINE To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
  To to;
  std::memcpy(&to, &from, sizeof(to));
  return to;
}

template <class Real>
struct Wide {
  Real m;
  Int<Real> e;
};

template <class T>
CTC_INLINE T larger(T a, T b) {
  return a < b ? b : a;
}

// 2^k for k <= kBias; exactly 0 below the smallest normal number.
template <class Real>
CTC_INLINE Real pow2(Int<Real> k) {
  const Int<Real> biased = larger<Int<Real>>(k + Format<Real>::kBias, 0);
  using Bits = std::make_unsigned_t<Int<Real>>;  // shifts out of range are defined; NaN leads to them
  return bits_as<Real>(static_cast<Bits>(biased) << Format<Real>::kMantissa);
}

// m * 2^e for a positive normal m.
template <class Real>
CTC_INLINE Wide<Real> normalized(Real m, Int<Real> e) {
  constexpr Int<Real> kOne = Int<Real>(Format<Real>::kBias) << Format<Real>::kMantissa;
  constexpr Int<Real> kFraction = (Int<Real>(1) << Format<Real>::kMantissa) - 1;
  const Int<Real> bits = bits_as<Int<Real>>(m);
  e += (bits >> Format<Real>::kMantissa) - Format<Real>::kBias;
  return {bits_as<Real>(static_cast<Int<Real>>((bits & kFraction) | kOne)), larger<Int<Real>>(e, kZero)};
}

// a + b + c, not normalized (1 <= m < 6). Terms more than the format's range below the largest vanish.
template <class Real>
CTC_INLINE Wide<Real> sum(Wide<Real> a, Wide<Real> b, Wide<Real> c) {
  const Int<Real> e = larger(larger(a.e, b.e), c.e);
  return {a.m * pow2<Real>(a.e - e) + b.m * pow2<Real>(b.e - e) + c.m * pow2<Real>(c.e - e), e};
}

template <class Real>
CTC_INLINE Wide<Real> sum(Wide<Real> a, Wide<Real> b) {
  const Int<Real> e = larger(a.e, b.e);
  return {a.m * pow2<Real>(a.e - e) + b.m * pow2<Real>(b.e - e), e};
}

template <class Real>
CTC_INLINE Wide<Real> times(Wide<Real> a, Wide<Real> b) {
  return normalized(a.m * b.m, a.e + b.e);
}

// exp(r) for |r| <= ln(2) / 2: Taylor's polynomial to below half a unit of the last place.
CTC_INLINE float exp_small(float r) {
  float y = 1.0f / 5040;
  y = y * r + 1.0f / 720;
  y = y * r + 1.0f / 120;
  y = y * r + 1.0f / 24;
  y = y * r + 1.0f / 6;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  return y * r + 1.0f;
}

CTC_INLINE double exp_small(double r) {
  double y = 1.0 / 6227020800;
  y = y * r + 1.0 / 479001600;
  y = y * r + 1.0 / 39916800;
  y = y * r + 1.0 / 3628800;
  y = y * r + 1.0 / 362880;
  y = y * r + 1.0 / 40320;
  y = y * r + 1.0 / 5040;
  y = y * r + 1.0 / 720;
  y = y * r + 1.0 / 120;
  y = y * r + 1.0 / 24;
  y = y * r + 1.0 / 6;
  y = y * r + 0.5;
  y = y * r + 1.0;
  return y * r + 1.0;
}

// exp(x) as m * 2^e, not normalized (0.7 < m < 1.5), for |x| < 2^20; the caller clamps. NaN gives a NaN m.
template <class Real>
CTC_INLINE Wide<Real> exp_split(Real x) {
  using F = Format<Real>;
  const Real shifted = x * Real(1.4426950408889634) + F::kRound;
  const Real n = shifted - F::kRound;
  const Int<Real> e = bits_as<Int<Real>>(shifted) - bits_as<Int<Real>>(F::kRound);
  return {exp_small(x - n * F::kLn2High - n * F::kLn2Low), e};
}

// exp(x) of a natural log-probability of any size: below -1.8e8 it is zero.
CTC_INLINE Wide<double> exp_wide(double x) {
  constexpr double kLowest = kZero * 0.69314718055994531;
  const Wide<double> y = exp_split(x < kLowest ? kLowest : x);
  return normalized(y.m, y.e);
}

// exp(x) for x <= 0, as a plain number.
template <class Real>
CTC_INLINE Real exp_plain(Real x) {
  constexpr Real kLowest = Real(-0.69314718055994531) * Format<Real>::kBias;
  const Wide<Real> y = exp_split(x < kLowest ? kLowest : x);
  return y.m * pow2<Real>(y.e);
}

template <class Real>
CTC_INLINE bool is_zero(Wide<Real> a) {
  return a.e < kZero / 2;
}

template <class Real>
CTC_INLINE double log_of(Wide<Real> a) {
  return std::log(static_cast<double>(a.m)) + 0.69314718055994531 * static_cast<double>(a.e);
}

}  // namespace ctc

#endif  // CTC_WIDE_H_
