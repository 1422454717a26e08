#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "acceptor.h"

namespace asr::ctc {

void BindAcceptor(nanobind::module_& m);

}  // namespace asr::ctc
