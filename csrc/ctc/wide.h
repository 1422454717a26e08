// Probabilities that cannot underflow: m * 2^e with 1 <= m < 2 and a separate integer exponent.
//
// The CTC recursions add and multiply probabilities that shrink by a factor in each frame. They are usually
// computed in the log domain, where each sum costs an exp and a log and long utterances lose precision (a
// log-prob of -10000 leaves three decimals in float32). Here a sum takes two exponent shifts and an addition,
// and the relative error of a step is half a unit in the last place however small the number. Exponents are
// clamped at kZero, which represents zero.
#pragma once

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

namespace asr::ctc {

constexpr int kZero = -(1 << 28);  // the exponent of zero; twice this value still fits into 32 bits
// Log-probs above this limit are rejected. The limit keeps a product of up to 90,000 of them from raising a
// zero into the range of nonzero numbers.
constexpr double kHighest = 1e3;

template <class Real>
struct Format;  // the layout of a floating-point type, and the constants that its exp() needs

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
CTC_INLINE To BitCast(From from) {
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
CTC_INLINE T Max(T a, T b) {
  return a < b ? b : a;
}

// 2^k for k <= kBias; 0 below the smallest normal number.
template <class Real>
CTC_INLINE Real Pow2(Int<Real> k) {
  const Int<Real> biased = Max<Int<Real>>(k + Format<Real>::kBias, 0);
  using Bits = std::make_unsigned_t<Int<Real>>;  // unsigned, because NaN can cause overflowing shifts
  return BitCast<Real>(static_cast<Bits>(biased) << Format<Real>::kMantissa);
}

// m * 2^e as a normalised number, for a positive normal m.
template <class Real>
CTC_INLINE Wide<Real> Normalize(Real m, Int<Real> e) {
  constexpr Int<Real> kOne = Int<Real>(Format<Real>::kBias) << Format<Real>::kMantissa;
  constexpr Int<Real> kFraction = (Int<Real>(1) << Format<Real>::kMantissa) - 1;
  const Int<Real> bits = BitCast<Int<Real>>(m);
  e += (bits >> Format<Real>::kMantissa) - Format<Real>::kBias;
  return {BitCast<Real>(static_cast<Int<Real>>((bits & kFraction) | kOne)), Max<Int<Real>>(e, kZero)};
}

// a + b + c, not normalised (1 <= m < 6). A term vanishes if it is below the largest by more than the range
// of the format.
template <class Real>
CTC_INLINE Wide<Real> Sum(Wide<Real> a, Wide<Real> b, Wide<Real> c) {
  const Int<Real> e = Max(Max(a.e, b.e), c.e);
  return {a.m * Pow2<Real>(a.e - e) + b.m * Pow2<Real>(b.e - e) + c.m * Pow2<Real>(c.e - e), e};
}

template <class Real>
CTC_INLINE Wide<Real> Sum(Wide<Real> a, Wide<Real> b) {
  const Int<Real> e = Max(a.e, b.e);
  return {a.m * Pow2<Real>(a.e - e) + b.m * Pow2<Real>(b.e - e), e};
}

template <class Real>
CTC_INLINE Wide<Real> Multiply(Wide<Real> a, Wide<Real> b) {
  return Normalize(a.m * b.m, a.e + b.e);
}

// exp(r) for |r| <= ln(2) / 2: a Taylor polynomial with a truncation error below half a unit in the last
// place.
CTC_INLINE float ExpSmall(float r) {
  float y = 1.0f / 5040;
  y = y * r + 1.0f / 720;
  y = y * r + 1.0f / 120;
  y = y * r + 1.0f / 24;
  y = y * r + 1.0f / 6;
  y = y * r + 0.5f;
  y = y * r + 1.0f;
  return y * r + 1.0f;
}

CTC_INLINE double ExpSmall(double r) {
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

// exp(x) as m * 2^e, not normalised (0.7 < m < 1.5), for |x| < 2^20; the caller clamps x. NaN gives m = NaN.
template <class Real>
CTC_INLINE Wide<Real> ExpSplit(Real x) {
  using F = Format<Real>;
  const Real shifted = x * Real(1.4426950408889634) + F::kRound;
  const Real n = shifted - F::kRound;
  const Int<Real> e = BitCast<Int<Real>>(shifted) - BitCast<Int<Real>>(F::kRound);
  return {ExpSmall(x - n * F::kLn2High - n * F::kLn2Low), e};
}

// exp(x) of a natural log-prob of any size; zero below -1.8e8. The caller rejects NaN and values above
// kHighest; they are clamped here, since sums of their exponents could overflow.
CTC_INLINE Wide<double> ExpWide(double x) {
  constexpr double kLowest = kZero * 0.69314718055994531;
  const double bounded = x > kLowest ? x : kLowest;  // NaN becomes kLowest
  const Wide<double> y = ExpSplit(bounded < kHighest ? bounded : kHighest);
  return Normalize(y.m, y.e);
}

// exp(x) for x <= 0, as an ordinary floating-point number.
template <class Real>
CTC_INLINE Real ExpPlain(Real x) {
  constexpr Real kLowest = Real(-0.69314718055994531) * Format<Real>::kBias;
  const Wide<Real> y = ExpSplit(x < kLowest ? kLowest : x);
  return y.m * Pow2<Real>(y.e);
}

template <class Real>
CTC_INLINE bool IsZero(Wide<Real> a) {
  return a.e < kZero / 2;
}

template <class Real>
CTC_INLINE double Log(Wide<Real> a) {
  return std::log(static_cast<double>(a.m)) + 0.69314718055994531 * static_cast<double>(a.e);
}

}  // namespace asr::ctc
