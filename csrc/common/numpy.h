// C++ results as numpy arrays.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstddef>
#include <utility>
#include <vector>

namespace asr {

// A numpy array that takes over the memory of `values`: (N,), or (N / width, width) if `width` is not 0.
template <class T>
nanobind::object ToNumpy(std::vector<T>&& values, size_t width = 0) {
  namespace nb = nanobind;
  auto* owned = new std::vector<T>(std::move(values));
  nb::capsule owner(owned, [](void* p) noexcept { delete static_cast<std::vector<T>*>(p); });
  if (width == 0)
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(owned->data(), {owned->size()}, owner));
  return nb::cast(
      nb::ndarray<nb::numpy, T, nb::ndim<2>>(owned->data(), {owned->size() / width, width}, owner));
}

}  // namespace asr
