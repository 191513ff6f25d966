// The Python module netsuke.nn._kernels: training kernels over the memory of PyTorch's tensors. Addresses come as numbers,
// 0 for none; netsuke/nn/unit.py is the only caller and answers for shapes, types and layout.
#include <nanobind/nanobind.h>

#include "train/select.h"
#include "train/unit.h"

namespace nb = nanobind;
using namespace netsuke::train;

namespace {

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

Unit unit(nb::dict d) {
  const auto floats = [&](const char* key) { return at<float>(nb::cast<uintptr_t>(d[key])); };
  Unit u{};
  u.pixels = nb::cast<int64_t>(d["pixels"]), u.channels = nb::cast<int64_t>(d["channels"]);
  u.half = nb::cast<bool>(d["half"]), u.batch = nb::cast<bool>(d["batch"]), u.published = nb::cast<bool>(d["published"]);
  u.z = floats("z"), u.r = floats("r");
  u.weight = floats("weight"), u.bias = floats("bias"), u.mean = floats("mean"), u.rstd = floats("rstd");
  u.running_mean = floats("running_mean"), u.running_var = floats("running_var");
  u.epsilon = nb::cast<double>(d["epsilon"]), u.momentum = nb::cast<double>(d["momentum"]);
  u.positive = floats("positive"), u.negative = floats("negative"), u.alpha = floats("alpha"), u.beta = floats("beta");
  return u;
}

}  // namespace

NB_MODULE(_kernels, m) {
  m.def("isa", [] { return select_kernels().isa; });
  m.def("unit_forward", [](nb::dict d, uintptr_t y, uintptr_t a, int threads) {
    const Unit u = unit(d);
    nb::gil_scoped_release release;
    forward(u, {at<void>(y), at<void>(a)}, threads);
  });
  m.def("unit_backward", [](nb::dict d, uintptr_t grad_y, uintptr_t grad_a, uintptr_t grad_v, uintptr_t grad_z,
                            uintptr_t weight, uintptr_t bias, uintptr_t positive, uintptr_t negative, uintptr_t alpha,
                            uintptr_t beta, int threads) {
    const Unit u = unit(d);
    nb::gil_scoped_release release;
    backward(u, {at<void>(grad_y), at<void>(grad_a), at<void>(grad_v), at<void>(grad_z), at<float>(weight),
                 at<float>(bias), at<float>(positive), at<float>(negative), at<float>(alpha), at<float>(beta)}, threads);
  });
}
