#include "graph/model.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <map>

#include "base/cpu.h"
#include "base/error.h"

namespace netsuke {
namespace {

constexpr int kMostThreads = 256;

int checked_threads(int threads) {
  if (threads < 1 || threads > kMostThreads)
    fail("threads must be 1 to " + std::to_string(kMostThreads) + ", not " + std::to_string(threads) + ".");
  return threads;
}

// By the exponent bits, which a compiler can look at in vectors.
bool all_finite(const float* x, int64_t n) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < n; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, 4);
    largest = std::max(largest, bits & 0x7fffffffu);
  }
  return largest < 0x7f800000u;
}

// Memory handed out and taken back along the run of the network, lowest place that fits first.
class Planner {
 public:
  int64_t take(int64_t bytes) {
    for (auto it = free_.begin(); it != free_.end(); ++it) {
      if (it->second < bytes) continue;
      const int64_t at = it->first, rest = it->second - bytes;
      free_.erase(it);
      if (rest > 0) free_[at + bytes] = rest;
      return at;
    }
    const int64_t at = end_;
    end_ += bytes;
    return at;
  }

  void give(int64_t at, int64_t bytes) {
    auto next = free_.upper_bound(at);
    if (next != free_.end() && at + bytes == next->first) {
      bytes += next->second;
      next = free_.erase(next);
    }
    if (next != free_.begin()) {
      const auto before = std::prev(next);
      if (before->first + before->second == at) {
        before->second += bytes;
        return;
      }
    }
    free_[at] = bytes;
  }

  int64_t end() const { return end_; }

 private:
  std::map<int64_t, int64_t> free_;  // place -> bytes
  int64_t end_ = 0;
};

}  // namespace

Model::Model(Graph graph, const std::string& isa, int threads)
    : graph_(std::move(graph)), kernels_(select_kernels(isa)), pool_(checked_threads(threads)) {
  plan();
  int channels = 0;
  for (const Node& n : graph_.nodes) channels = std::max(channels, n.channels);
  zeros_ = Buffer<float>(static_cast<size_t>(channels));
  int64_t tile = 0, windows = 0, pixels = 0;
  for (const Node& n : graph_.nodes) {
    tasks_.push_back(prepare(graph_, n, places_, zeros_.data(), kernels_, threads));
    const Task& t = *tasks_.back();
    tile = std::max(tile, t.pixels_of_scratch * t.tile_floats * 4);
    windows = std::max(windows, t.pixels_of_scratch * t.window_bytes);
    pixels = std::max(pixels, t.pixels_of_scratch);
  }
  const auto padded = [](int64_t bytes) { return round_up(bytes + static_cast<int64_t>(kSlack), kAlignment); };
  const int64_t by_pixel = padded(pixels * 4), one = padded(tile) + padded(windows) + 3 * by_pixel;
  scratch_memory_ = Buffer<uint8_t>(static_cast<size_t>(one * threads));
  for (int t = 0; t < threads; ++t) {
    uint8_t* at = scratch_memory_.data() + one * t;
    uint8_t* described = at + padded(tile) + padded(windows);
    scratch_.push_back({reinterpret_cast<float*>(at), at + padded(tile), reinterpret_cast<int32_t*>(described),
                        reinterpret_cast<int32_t*>(described + by_pixel), reinterpret_cast<float*>(described + 2 * by_pixel)});
  }
  nanoseconds.assign(graph_.nodes.size(), 0);
}

// Gives every value its place. A value's memory is free again after the last node that reads it; a value nobody reads
// lives for the node that makes it; outputs live to the end.
void Model::plan() {
  const size_t count = graph_.values.size(), last_node = graph_.nodes.size();
  std::vector<size_t> last(count, 0);
  std::vector<std::vector<int>> ends(last_node + 1);
  for (size_t i = 0; i < last_node; ++i) {
    for (int id : graph_.nodes[i].inputs) last[static_cast<size_t>(id)] = i;
    for (const Step& s : graph_.nodes[i].epilogue)
      if (s.kind == StepKind::add || s.kind == StepKind::store || s.kind == StepKind::binarize)
        last[static_cast<size_t>(s.value)] = i;
  }
  for (const Output& o : graph_.outputs) last[static_cast<size_t>(o.value)] = last_node;
  for (size_t id = 0; id < count; ++id) ends[last[id]].push_back(static_cast<int>(id));

  Planner planner;
  std::vector<int64_t> at(count), bytes(count);
  places_.resize(count);
  const auto place = [&](int id) {
    const Value& v = graph_.values[static_cast<size_t>(id)];
    const int64_t pixels = int64_t{v.height} * v.width;
    const int64_t stride = v.bits ? pixel_bytes(v.channels) : id == 0 ? v.channels : round_up(v.channels, 16);
    bytes[static_cast<size_t>(id)] = round_up(pixels * stride * (v.bits ? 1 : 4), kAlignment);
    at[static_cast<size_t>(id)] = planner.take(bytes[static_cast<size_t>(id)]);
    places_[static_cast<size_t>(id)].stride = stride;
  };
  place(0);
  for (size_t i = 0; i < last_node; ++i) {
    for (const Step& s : graph_.nodes[i].epilogue)
      if (s.kind == StepKind::store || s.kind == StepKind::binarize) place(s.value);
    for (int id : ends[i]) planner.give(at[static_cast<size_t>(id)], bytes[static_cast<size_t>(id)]);
  }
  arena_ = Buffer<uint8_t>(static_cast<size_t>(planner.end()));
  for (size_t id = 0; id < count; ++id) places_[id].data = arena_.data() + at[id];
}

void Model::run_node(int index) {
  const Task& task = *tasks_[static_cast<size_t>(index)];
  struct Context {
    const Task* task;
    const Scratch* scratch;
  } const context{&task, scratch_.data()};
  pool_.run(
      [](const void* c, int unit, int thread) {
        const Context& x = *static_cast<const Context*>(c);
        x.task->run(*x.task, unit, x.scratch[thread]);
      },
      &context, task.units.count);
}

void Model::run_tasks() {
  const int count = static_cast<int>(tasks_.size());
  if (!timed) {
    for (int i = 0; i < count; ++i) run_node(i);
    return;
  }
  using Clock = std::chrono::steady_clock;
  Clock::time_point before = Clock::now();
  for (int i = 0; i < count; ++i) {
    run_node(i);
    const Clock::time_point now = Clock::now();
    nanoseconds[static_cast<size_t>(i)] += std::chrono::duration_cast<std::chrono::nanoseconds>(now - before).count();
    before = now;
  }
}

void Model::set_value(int id, const float* planes) {
  const Value& v = graph_.values[static_cast<size_t>(id)];
  const Place& p = places_[static_cast<size_t>(id)];
  const int64_t pixels = int64_t{v.height} * v.width;
  if (v.bits) std::fill(p.data, p.data + pixels * p.stride, uint8_t{0});
  for (int64_t c = 0; c < v.channels; ++c)
    for (int64_t i = 0; i < pixels; ++i) {
      const float x = planes[c * pixels + i];
      if (v.bits)
        p.data[i * p.stride + c / 8] |= static_cast<uint8_t>((x > 0) << (c % 8));
      else
        reinterpret_cast<float*>(p.data)[i * p.stride + c] = x;
    }
}

void Model::get_value(int id, float* planes) const {
  const Value& v = graph_.values[static_cast<size_t>(id)];
  const Place& p = places_[static_cast<size_t>(id)];
  const int64_t pixels = int64_t{v.height} * v.width;
  for (int64_t c = 0; c < v.channels; ++c)
    for (int64_t i = 0; i < pixels; ++i)
      planes[c * pixels + i] = v.bits ? static_cast<float>((p.data[i * p.stride + c / 8] >> (c % 8) & 1) * 2 - 1)
                                      : reinterpret_cast<const float*>(p.data)[i * p.stride + c];
}

template <class T>
void Model::run_images(const T* images, int64_t n, float* const* outputs) {
  constexpr bool eight_bit = sizeof(T) == 1;
  const int64_t elements = graph_.values[0].elements();
  if constexpr (eight_bit) {
    if (!graph_.has_transform)
      fail("this file takes float32 input only: it was exported without preprocess=. Normalise the images first.");
  } else {
    for (int64_t image = 0; image < n; ++image)
      if (!all_finite(images + image * elements, elements))
        fail("the images hold a number that is not finite (NaN or infinity); check how they were made");
  }
  for (int64_t image = 0; image < n; ++image, images += elements) {
    if constexpr (eight_bit) {
      const TransformArgs args = {graph_.channels,
                                  graph_.height * graph_.width,
                                  graph_.reverse,
                                  graph_.floats.data() + graph_.scale.offset,
                                  graph_.floats.data() + graph_.shift.offset,
                                  reinterpret_cast<float*>(places_[0].data)};
      kernels_.transform_u8(args, images);
    } else {
      set_value(0, images);
    }
    run_tasks();
    for (size_t k = 0; k < graph_.outputs.size(); ++k) {
      const int id = graph_.outputs[k].value;
      get_value(id, outputs[k] + image * graph_.values[static_cast<size_t>(id)].elements());
    }
  }
}

void Model::run(const float* images, int64_t n, float* const* outputs) { run_images(images, n, outputs); }
void Model::run(const uint8_t* images, int64_t n, float* const* outputs) { run_images(images, n, outputs); }

}  // namespace netsuke
