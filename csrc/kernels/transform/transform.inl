// uint8 planes to the network's float input: x = fma(float(u), scale, shift) per channel.

namespace {

using netsuke::TransformArgs;

void transform_u8(const TransformArgs& x, const uint8_t* planes) {
  float table[256], numbers[256];
  for (int u = 0; u < 256; ++u) numbers[u] = static_cast<float>(u);
  for (int c = 0; c < x.channels; ++c) {
    // One fma for each of the 256 values a byte can have, then a look-up a pixel.
    const F scale = f_set1(x.scale[c]), shift = f_set1(x.shift[c]);
    for (int u = 0; u < 256; u += L) f_store(table + u, f_fma(f_load(numbers + u), scale, shift));
    const uint8_t* plane = planes + static_cast<int64_t>(x.reverse ? x.channels - 1 - c : c) * x.pixels;
    float* out = x.map + c;
    for (int i = 0; i < x.pixels; ++i, out += x.channels) *out = table[plane[i]];
  }
}

}  // namespace
