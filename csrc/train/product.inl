namespace {

template <class T>
void product_of(const Product& p, int64_t image, void* y) {
  const float* gate = p.gate + image * p.channels;
  each_block<T>(p.channels, image * p.pixels, (image + 1) * p.pixels, [&](auto maps, int64_t c, int64_t from, int64_t to) {
    const F by = maps.row(gate, c);
    for (int64_t x = from; x < to; ++x) {
      const int64_t i = x * p.channels + c;
      F made = maps.get(p.x, i) * by;
      if (p.r) made *= maps.get(p.r, i);
      maps.put(y, i, made);
    }
  });
}

template <class T>
void product_backward_of(const Product& p, const ProductGradients& g, int64_t image) {
  const float* gate = p.gate + image * p.channels;
  float* sums = g.gate + image * p.channels;
  each_block<T>(p.channels, image * p.pixels, (image + 1) * p.pixels, [&](auto maps, int64_t c, int64_t from, int64_t to) {
    const F by = maps.row(gate, c);
    F sum{};
    for (int64_t k = from; k < to; ++k) {
      const int64_t i = k * p.channels + c;
      const F x = maps.get(p.x, i), own = maps.get(g.grad, i), through = p.r ? own * maps.get(p.r, i) : own;
      sum += through * x;
      maps.put(g.x, i, through * by);
      if (g.r) maps.put(g.r, i, own * x * by);
    }
    maps.add(sums, c, sum);
  });
}

void product(const Product& p, int64_t image, void* y) { (p.half ? product_of<uint16_t> : product_of<float>)(p, image, y); }

void product_backward(const Product& p, const ProductGradients& g, int64_t image) {
  (p.half ? product_backward_of<uint16_t> : product_backward_of<float>)(p, g, image);
}

}  // namespace
