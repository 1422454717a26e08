// Costs are negative natural logarithms: lower is better, and the costs along a path add up.
#pragma once

#include <limits>

namespace asr::decoder {

// The cost of an impossible event.
constexpr float kInfinity = std::numeric_limits<float>::infinity();

}  // namespace asr::decoder
