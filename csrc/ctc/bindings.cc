#include <nanobind/nanobind.h>

NB_MODULE(_ctc, m) { m.doc() = "CTC on plain pointers."; }
