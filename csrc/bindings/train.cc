// The Python module netsuke.nn._kernels: training kernels over the memory of PyTorch's tensors. Addresses come as numbers,
// 0 for none; netsuke/nn (unit, convolution, product) alone calls them and answers for shapes, types and layout.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "train/kernels.h"
#include "train/product.h"
#include "train/select.h"
#include "train/unit.h"

namespace nb = nanobind;
using namespace netsuke::train;

namespace {

template <class T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// map: N, H, W, C, H', W', O. kernel: height, width, stride, padding of both.
template <class T>
T shaped(nb::tuple map, nb::tuple kernel) {
  const auto size = [&](int i) { return nb::cast<int64_t>(map[i]); };
  const auto of = [&](int i) { return nb::cast<int64_t>(kernel[i]); };
  T t{};
  static_cast<ConvShape&>(t) = {size(0), size(1), size(2), size(3), size(4), size(5), size(6), of(0), of(1), of(2), of(3), of(4), of(5)};
  return t;
}

// strides: of O, C, height, width.
Latent latent(uintptr_t weight, nb::tuple strides, uintptr_t alpha_w, uintptr_t beta_w) {
  const auto stride = [&](int i) { return nb::cast<int64_t>(strides[i]); };
  return {at<float>(weight), stride(0), stride(1), stride(2), stride(3), at<float>(alpha_w), at<float>(beta_w), 0, 0};
}

Unit unit(nb::dict d) {
  const auto floats = [&](const char* key) { return at<float>(nb::cast<uintptr_t>(d[key])); };
  Unit u{};
  u.images = nb::cast<int64_t>(d["images"]), u.image = nb::cast<int64_t>(d["image"]), u.channels = nb::cast<int64_t>(d["channels"]);
  u.half = nb::cast<bool>(d["half"]), u.batch = nb::cast<bool>(d["batch"]), u.published = nb::cast<bool>(d["published"]);
  u.z = floats("z"), u.r = floats("r");
  u.weight = floats("weight"), u.bias = floats("bias"), u.mean = floats("mean"), u.rstd = floats("rstd");
  u.running_mean = floats("running_mean"), u.running_var = floats("running_var");
  u.epsilon = nb::cast<double>(d["epsilon"]), u.momentum = nb::cast<double>(d["momentum"]);
  u.positive = floats("positive"), u.negative = floats("negative"), u.alpha = floats("alpha"), u.beta = floats("beta");
  u.rsign = floats("rsign"), u.bound = nb::cast<double>(d["bound"]);
  return u;
}

}  // namespace

Weight weight(nb::tuple shape, uintptr_t address, uintptr_t alpha, uintptr_t beta) {
  return {nb::cast<int64_t>(shape[0]), nb::cast<int64_t>(shape[1]), at<float>(address), at<float>(alpha), at<float>(beta)};
}

NB_MODULE(_kernels, m) {
  m.def("isa", [] { return select_kernels().isa; });
  m.def("available", &available);
  m.def("use", &use);
  m.def("unit_forward", [](nb::dict d, uintptr_t y, uintptr_t a, uintptr_t bits, uintptr_t means, int threads) {
    const Unit u = unit(d);
    nb::gil_scoped_release release;
    forward(u, {at<void>(y), at<void>(a), at<uint16_t>(bits), at<float>(means)}, threads);
  });
  m.def("unit_backward", [](nb::dict d, uintptr_t grad_y, uintptr_t grad_a, uintptr_t grad_means, uintptr_t grad_v, uintptr_t grad_z,
                            uintptr_t weight, uintptr_t bias, uintptr_t positive, uintptr_t negative, uintptr_t alpha,
                            uintptr_t beta, uintptr_t rsign, int threads) {
    const Unit u = unit(d);
    nb::gil_scoped_release release;
    backward(u, {at<void>(grad_y), at<void>(grad_a), at<float>(grad_means), at<void>(grad_v), at<void>(grad_z), at<float>(weight),
                 at<float>(bias), at<float>(positive), at<float>(negative), at<float>(alpha), at<float>(beta), at<float>(rsign)}, threads);
  });
  m.def("weight_forward", [](nb::tuple shape, uintptr_t latent, bool half, uintptr_t alpha, uintptr_t beta, uintptr_t out) {
    select_kernels().weight_forward(weight(shape, latent, alpha, beta), half, at<void>(out));
  });
  m.def("weight_backward", [](nb::tuple shape, uintptr_t latent, uintptr_t alpha, uintptr_t beta, double k, double t,
                              uintptr_t grad_out, uintptr_t grad) {
    select_kernels().weight_backward(weight(shape, latent, alpha, beta), static_cast<float>(k), static_cast<float>(t),
                                     at<float>(grad_out), at<float>(grad));
  });
  m.def("binary_conv", [](nb::tuple map, nb::tuple kernel, uintptr_t bits, uintptr_t weight, nb::tuple strides, uintptr_t alpha_w,
                          uintptr_t beta_w, double alpha_a, double gamma, bool half, uintptr_t out, int threads) {
    auto b = shaped<BinaryConv>(map, kernel);
    b.bits = at<uint16_t>(bits), b.half = half, b.out = at<void>(out);
    Latent l = latent(weight, strides, alpha_w, beta_w);
    l.alpha_a = static_cast<float>(alpha_a), l.gamma = static_cast<float>(gamma);
    nb::gil_scoped_release release;
    binary_conv(b, l, threads);
  });
  m.def("has_input_gradient", &has_input_gradient);
  m.def("input_gradient", [](nb::tuple map, nb::tuple kernel, uintptr_t grad, uintptr_t weight, nb::tuple strides, uintptr_t alpha_w,
                             uintptr_t beta_w, bool half, uintptr_t out, int threads) {
    auto g = shaped<InputGradient>(map, kernel);
    g.half = half, g.grad = at<void>(grad), g.out = at<void>(out);
    const Latent l = latent(weight, strides, alpha_w, beta_w);
    nb::gil_scoped_release release;
    input_gradient(g, l, threads);
  });
  m.def("weight_gradient", [](nb::tuple map, nb::tuple kernel, uintptr_t bits, double high, double low, bool half, uintptr_t grad,
                              uintptr_t out, nb::tuple strides, int threads) {
    const auto stride = [&](int i) { return nb::cast<int64_t>(strides[i]); };
    auto g = shaped<WeightGradient>(map, kernel);
    g.bits = at<uint16_t>(bits), g.half = half, g.grad = at<void>(grad);
    g.high = static_cast<float>(high), g.low = static_cast<float>(low);
    const Strided to{at<float>(out), stride(0), stride(1), stride(2), stride(3)};
    nb::gil_scoped_release release;
    weight_gradient(g, to, threads);
  });
  // shape: images, pixels of one, channels.
  const auto shape = [](nb::tuple t, bool half, uintptr_t x, uintptr_t gate, uintptr_t r) {
    return Product{nb::cast<int64_t>(t[0]), nb::cast<int64_t>(t[1]), nb::cast<int64_t>(t[2]), half, at<void>(x), at<void>(r), at<float>(gate)};
  };
  m.def("product", [shape](nb::tuple t, bool half, uintptr_t x, uintptr_t gate, uintptr_t r, uintptr_t y, int threads) {
    const Product p = shape(t, half, x, gate, r);
    nb::gil_scoped_release release;
    product(p, at<void>(y), threads);
  });
  m.def("product_backward", [shape](nb::tuple t, bool half, uintptr_t x, uintptr_t gate, uintptr_t r, uintptr_t grad, uintptr_t grad_x,
                                    uintptr_t grad_gate, uintptr_t grad_r, int threads) {
    const Product p = shape(t, half, x, gate, r);
    nb::gil_scoped_release release;
    product_backward(p, {at<void>(grad), at<void>(grad_x), at<void>(grad_r), at<float>(grad_gate)}, threads);
  });
  m.def("expand", [](uintptr_t bits, int64_t words, bool half, double high, double low, uintptr_t out, int threads) {
    nb::gil_scoped_release release;
    expand(at<uint16_t>(bits), words, half, static_cast<float>(high), static_cast<float>(low), at<void>(out), threads);
  });
}
