// Planes to the network's input map. uint8: x = fma(float(u), scale, shift) per channel; float32 as it is.

namespace {

using netsuke::TransformArgs;

template <class T, class Convert>
void spread_plane(const TransformArgs& x, const T* plane, int channel, Convert convert) {
  for (int y = 0; y < x.height; ++y, plane += x.width) {
    float* out = reinterpret_cast<float*>(x.map.data + y * x.map.row) + channel;
    for (int i = 0; i < x.width; ++i, out += x.channels) *out = convert(plane[i]);
  }
}

void transform_u8(const TransformArgs& x, const uint8_t* planes) {
  float table[256], numbers[256];
  for (int u = 0; u < 256; ++u) numbers[u] = static_cast<float>(u);
  for (int c = 0; c < x.channels; ++c) {
    // One fma for each of the 256 values a byte can have, then a look-up a pixel.
    const F scale = f_set1(x.scale[c]), shift = f_set1(x.shift[c]);
    for (int u = 0; u < 256; u += L) f_store(table + u, f_fma(f_load(numbers + u), scale, shift));
    const int plane = x.reverse ? x.channels - 1 - c : c;
    spread_plane(x, planes + int64_t{plane} * x.height * x.width, c, [&](uint8_t u) { return table[u]; });
  }
}

void transform_f32(const TransformArgs& x, const float* planes) {
  for (int c = 0; c < x.channels; ++c)
    spread_plane(x, planes + int64_t{c} * x.height * x.width, c, [](float value) { return value; });
}

}  // namespace
