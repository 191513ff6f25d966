#include "graph/detect.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "graph/limits.h"

namespace netsuke {
namespace {

constexpr int kChunk = 256;  // boxes

// A key says score, label and box in one number, in the order of the rows: the best score is the lowest key.
constexpr int kBoxBits = 20, kLabelBits = 12;
static_assert(MAX_BOXES <= 1 << kBoxBits && MAX_LABELS <= 1 << kLabelBits && kBoxBits + kLabelBits == 32);

uint64_t key_of(float score, int label, int box) {  // of a score above 0
  uint32_t bits;
  std::memcpy(&bits, &score, 4);
  return uint64_t{~bits} << 32 | static_cast<uint32_t>(label) << kBoxBits | static_cast<uint32_t>(box);
}

float score_of(uint64_t key) {
  const uint32_t bits = ~static_cast<uint32_t>(key >> 32);
  float score;
  std::memcpy(&score, &bits, 4);
  return score;
}

int label_of(uint64_t key) { return static_cast<int>(key >> kBoxBits & ((1 << kLabelBits) - 1)); }
int box_of(uint64_t key) { return static_cast<int>(key & ((1 << kBoxBits) - 1)); }

}  // namespace

Detector::Detector(const Graph& g, const Node& n, const std::vector<Map>& inputs, const Kernels& kernels, int threads)
    : kernels_(kernels), fields_(n.detection), row_floats_(round_up(n.detection.keep, 16)) {
  const Detection& d = fields_;
  most_ = std::min({d.candidates, d.keep, d.boxes});
  const int64_t stride = round_up(d.boxes, 16), labels = d.classes - 1;
  int end = 0;
  for (size_t m = 0; m < d.shapes.size(); ++m) {
    const Value& v = g.values[static_cast<size_t>(n.inputs[2 * m])];
    end += v.channels / 4 * v.height * v.width;
    maps_.push_back({inputs[2 * m], inputs[2 * m + 1], v.width, v.channels / 4, end});
  }
  defaults_ = Buffer<float>(static_cast<size_t>(4 * stride));
  corners_ = Buffer<float>(static_cast<size_t>(4 * stride));
  scores_ = Buffer<float>(static_cast<size_t>(labels * stride));
  rows_ = Buffer<float>(static_cast<size_t>(6 * row_floats_));
  found_ = Buffer<uint64_t>(static_cast<size_t>(labels * most_));
  counts_.resize(static_cast<size_t>(labels));
  for (int t = 0; t < threads; ++t)
    work_.push_back({Buffer<uint64_t>(static_cast<size_t>(d.boxes)), Buffer<float>(static_cast<size_t>(5 * round_up(most_, 16)))});
  const float* variances = g.floats.data() + d.variances.offset;
  args_ = {maps_.data(), d.boxes, kChunk, d.classes, variances[0], variances[1], stride,
           defaults_.data(), scores_.data(), corners_.data()};
  place_defaults(g, n);
}

void Detector::place_defaults(const Graph& g, const Node& n) {
  const float* step = g.floats.data() + fields_.steps.offset;
  float* to = defaults_.data();
  for (size_t m = 0; m < maps_.size(); ++m, step += 2) {
    const Value& v = g.values[static_cast<size_t>(n.inputs[2 * m])];
    const float* shapes = g.floats.data() + fields_.shapes[m].offset;
    for (int y = 0; y < v.height; ++y)
      for (int x = 0; x < v.width; ++x)
        for (int a = 0; a < maps_[m].boxes; ++a, ++to) {
          const float box[4] = {(static_cast<float>(x) + 0.5f) * step[0], (static_cast<float>(y) + 0.5f) * step[1],
                                shapes[2 * a], shapes[2 * a + 1]};
          for (int k = 0; k < 4; ++k) to[k * args_.stride] = box[k];
        }
  }
}

// The keys of the best candidates of a class, in order. Returns their number.
int Detector::candidates(int label, uint64_t* keys) const {
  const float* scores = scores_.data() + label * args_.stride;
  uint64_t* end = keys;
  for (int box = 0; box < fields_.boxes; ++box) {  // without branches
    *end = key_of(scores[box], label, box);
    end += scores[box] > fields_.score_threshold;
  }
  end = std::remove_if(keys, end, [&](uint64_t key) {
    const float* corner = corners_.data() + box_of(key);
    return std::isnan(corner[0]) || std::isnan(corner[args_.stride]) || std::isnan(corner[2 * args_.stride]) ||
           std::isnan(corner[3 * args_.stride]);
  });
  if (end - keys > fields_.candidates) {
    std::nth_element(keys, keys + fields_.candidates, end);
    end = keys + fields_.candidates;
  }
  std::sort(keys, end);
  return static_cast<int>(end - keys);
}

// Keeps of a class what overlaps nothing better, and no more than can become rows.
void Detector::suppress(int label, Work& work) {
  const int count = candidates(label, work.keys.data());
  uint64_t* found = found_.data() + int64_t{label} * most_;
  OverlapArgs overlap{work.kept.data(), round_up(most_, 16), 0, {}, fields_.iou_threshold};
  for (int i = 0; i < count && overlap.count < most_; ++i) {
    const uint64_t key = work.keys[static_cast<size_t>(i)];
    float* box = overlap.box;
    for (int k = 0; k < 4; ++k) box[k] = corners_[static_cast<size_t>(k * args_.stride + box_of(key))];
    box[4] = (box[2] - box[0]) * (box[3] - box[1]);
    if (kernels_.overlaps_any(overlap)) continue;
    for (int k = 0; k < 5; ++k) work.kept[static_cast<size_t>(k * overlap.stride + overlap.count)] = box[k];
    found[overlap.count++] = key;
  }
  counts_[static_cast<size_t>(label)] = overlap.count;
}

void Detector::write_rows() {
  uint64_t *begin = found_.data(), *end = begin;  // what is found is moved together: nobody reads it by label any more
  for (size_t label = 0; label < counts_.size(); ++label) {
    const uint64_t* from = begin + static_cast<int64_t>(label) * most_;
    end = from == end ? end + counts_[label] : std::copy(from, from + counts_[label], end);
  }
  const int64_t rows = std::min<int64_t>(fields_.keep, end - begin);
  std::partial_sort(begin, begin + rows, end);
  for (int64_t row = 0; row < fields_.keep; ++row) {
    float numbers[6] = {0, 0, 0, 0, 0, -1};
    if (row < rows) {
      const uint64_t key = begin[row];
      for (int k = 0; k < 4; ++k) numbers[k] = corners_[static_cast<size_t>(k * args_.stride + box_of(key))];
      numbers[4] = score_of(key), numbers[5] = static_cast<float>(label_of(key));
    }
    for (int k = 0; k < 6; ++k) rows_[static_cast<size_t>(k * row_floats_ + row)] = numbers[k];
  }
}

void Detector::run(ThreadPool& pool, const std::vector<Scratch>& scratch) {
  struct Context {
    Detector* self;
    const Scratch* scratch;
  } const context{this, scratch.data()};
  const auto boxes = [](const void* c, int unit, int thread) {
    const Context& x = *static_cast<const Context*>(c);
    x.self->kernels_.detect_boxes(x.self->args_, unit, x.scratch[thread]);
  };
  const auto suppress = [](const void* c, int label, int thread) {
    const Context& x = *static_cast<const Context*>(c);
    x.self->suppress(label, x.self->work_[static_cast<size_t>(thread)]);
  };
  pool.run(boxes, &context, (fields_.boxes + kChunk - 1) / kChunk);
  pool.run(suppress, &context, fields_.classes - 1);
  write_rows();
}

}  // namespace netsuke
