// A node made ready for one instruction set: weights packed, tables computed, the kernel's arguments filled in.
#pragma once

#include <memory>
#include <vector>

#include "base/memory.h"
#include "graph/graph.h"
#include "kernels/kernels.h"

namespace netsuke {

// Where each value lies: its first byte and the bytes (bits) or floats (float maps) from one pixel to the next.
struct Place {
  uint8_t* data;
  int64_t stride;
};

struct Task {
  void (*run)(const Task&, int unit, const Scratch&);
  const Kernels* kernels;
  Units units{};
  int64_t tile_floats = 0, window_bytes = 0, pixels_of_scratch = 0;  // of one thread's scratch

  BinaryConvArgs binary{};
  FloatConvArgs floats{};
  PoolArgs pool{};
  CopyArgs copy{};

  std::vector<Stage> stages;
  std::vector<Block> blocks;
  std::vector<CopySource> sources;
  Buffer<uint32_t> binary_weight;
  Buffer<float> float_weight, scale, offset, constant;
  Buffer<int32_t> base, row_border, column_border, row_inside, column_inside;
};

// `zeros` holds as many zeros as the node has channels; `places` is indexed by value. All must outlive the task.
std::unique_ptr<Task> prepare(const Graph& graph, const Node& node, const std::vector<Place>& places, const float* zeros,
                              const Kernels& kernels, int threads);

}  // namespace netsuke
