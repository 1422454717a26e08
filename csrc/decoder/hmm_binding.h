#pragma once

#include <nanobind/nanobind.h>

namespace asr::decoder {

void BindHmmGraphs(nanobind::module_& m);

}  // namespace asr::decoder
