// The Python module netsuke.artifact._coding: coded weights and floats, as artifact/coding.py has them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "code/floats.h"
#include "code/levels.h"

namespace nb = nanobind;
namespace coding = netsuke::coding;

namespace {

template <class T, int dimensions>
using Array = nb::ndarray<T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;

template <class T>
coding::Levels shape_of(const T& levels, int least, int most) {
  const auto size = [&](size_t i) { return static_cast<int64_t>(levels.shape(i)); };
  return {size(0), size(1), size(2), size(3), least, most};
}

nb::bytes as_bytes(const std::vector<uint8_t>& stream) {
  return nb::bytes(reinterpret_cast<const char*>(stream.data()), stream.size());
}

const uint8_t* begin(const nb::bytes& stream) { return static_cast<const uint8_t*>(stream.data()); }

}  // namespace

NB_MODULE(_coding, m) {
  m.def("encode", [](const Array<const int16_t, 4>& levels, int least, int most) {
    return as_bytes(coding::encode(shape_of(levels, least, most), levels.data()));
  });
  m.def("decode", [](const nb::bytes& stream, const Array<int16_t, 4>& levels, int least, int most) {
    return coding::decode(shape_of(levels, least, most), begin(stream), stream.size(), levels.data());
  });
  m.def("encode_floats", [](const Array<const uint32_t, 1>& bits) { return as_bytes(coding::encode_floats(bits.data(), bits.size())); });
  m.def("decode_floats", [](const nb::bytes& stream, const Array<uint32_t, 1>& bits) {
    return coding::decode_floats(begin(stream), stream.size(), bits.data(), bits.size());
  });
}
