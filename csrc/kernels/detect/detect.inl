// detect: scores and coordinates of the boxes, L of them side by side, and overlaps (docs/format.md, section 4). Which boxes
// are kept is graph/detect.cc's.

namespace {

using netsuke::DetectArgs;
using netsuke::DetectMap;
using netsuke::OverlapArgs;

constexpr float kLargestSize = 0x1.08a692p+2f;  // ln(1000 / 16)

inline F f_sub(F a, F b) { return f_add(a, f_mul(b, f_set1(-1))); }  // the product is exact

// Goes from box to box.
struct BoxCursor {
  const DetectMap* map;
  int y, x, box;

  BoxCursor(const DetectMap* maps, int at) : map(maps) {
    int begin = 0;
    for (; map->end <= at; ++map) begin = map->end;
    const int pixel = (at - begin) / map->boxes;
    y = pixel / map->width, x = pixel % map->width, box = (at - begin) % map->boxes;
  }
  const float* numbers(const Map& of, int count) const {
    return reinterpret_cast<const float*>(of.data + y * of.row + x * of.pixel) + static_cast<int64_t>(box) * count;
  }
  void next(int at) {  // at: the box that comes
    if (++box < map->boxes) return;
    box = 0;
    if (++x < map->width) return;
    x = 0, ++y;
    if (at == map->end) ++map, y = 0;
  }
};

// Lane `lane` of `count` vectors.
inline void spread(const float* from, int count, int lane, float* to) {
  for (int k = 0; k < count; ++k) to[k * L + lane] = from[k];
}

// e^(logit - largest) in place of the logits, then their quotients.
inline void softmax(float* logits, int classes, int64_t stride, float* scores) {
  F largest = f_load(logits);
  for (int c = 1; c < classes; ++c) largest = f_max(f_load(logits + c * L), largest);
  F total = f_set1(0);
  for (int c = 0; c < classes; ++c) {
    const F power = f_exp(f_sub(f_load(logits + c * L), largest));
    f_store(logits + c * L, power);
    total = f_add(total, power);
  }
  for (int c = 1; c < classes; ++c) f_store(scores + (c - 1) * stride, f_div(f_load(logits + c * L), total));
}

// Both ends of the boxes along an axis.
inline void decode(const DetectArgs& x, F centre, F size, const float* defaults, float* corners) {
  const F extent = f_load(defaults + 2 * x.stride), zero = f_set1(0), one = f_set1(1);
  const F middle = f_fma(f_mul(centre, f_set1(x.centre_variance)), extent, f_load(defaults));
  const F power = f_exp(f_min(f_set1(kLargestSize), f_mul(size, f_set1(x.size_variance))));
  const F half = f_mul(f_mul(extent, power), f_set1(0.5f));
  f_store(corners, f_min(one, f_max(zero, f_sub(middle, half))));
  f_store(corners + 2 * x.stride, f_min(one, f_max(zero, f_add(middle, half))));
}

void detect_boxes(const DetectArgs& x, int unit, const Scratch& scratch) {
  float *logits = scratch.tile, *located = logits + static_cast<int64_t>(x.classes) * L;
  const int first = unit * x.chunk, end = x.boxes - first < x.chunk ? x.boxes : first + x.chunk;
  BoxCursor cursor(x.maps, first);
  for (int at = first; at < end; at += L) {
    const int count = end - at < L ? end - at : L;
    for (int lane = 0; lane < count; ++lane) {
      spread(cursor.numbers(cursor.map->logits, x.classes), x.classes, lane, logits);
      spread(cursor.numbers(cursor.map->locations, 4), 4, lane, located);
      cursor.next(at + lane + 1);
    }
    softmax(logits, x.classes, x.stride, x.scores + at);
    for (int axis = 0; axis < 2; ++axis) {
      const int64_t plane = axis * x.stride + at;
      decode(x, f_load(located + axis * L), f_load(located + (2 + axis) * L), x.defaults + plane, x.corners + plane);
    }
  }
}

// What two intervals share.
inline F shared(F low, F high, F other_low, F other_high) {
  return f_max(f_sub(f_min(high, other_high), f_max(low, other_low)), f_set1(0));
}

bool overlaps_any(const OverlapArgs& x) {
  const F x1 = f_set1(x.box[0]), y1 = f_set1(x.box[1]), x2 = f_set1(x.box[2]), y2 = f_set1(x.box[3]), area = f_set1(x.box[4]);
  const F threshold = f_set1(x.threshold);
  for (int i = 0; i < x.count; i += L) {
    const auto other = [&](int k) { return f_load(x.others + k * x.stride + i); };
    const F both = f_mul(shared(x1, x2, other(0), other(2)), shared(y1, y2, other(1), other(3)));
    const F ratio = f_div(both, f_sub(f_add(area, other(4)), both));
    const int left = x.count - i;
    const uint32_t inside = left >= L ? ~0u : (1u << left) - 1;
    if (f_ge(ratio, threshold) & ~f_le(ratio, threshold) & inside) return true;
  }
  return false;
}

}  // namespace
