// What a detect does before its epilogue (docs/format.md, section 4): boxes, suppression class by class, rows.
#pragma once

#include <vector>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "graph/graph.h"
#include "kernels/kernels.h"

namespace netsuke {

class Detector {
 public:
  // inputs: where the node's inputs lie.
  Detector(const Graph& graph, const Node& node, const std::vector<Map>& inputs, const Kernels& kernels, int threads);

  // The result: (keep, 6, 1).
  Map rows() { return {reinterpret_cast<uint8_t*>(rows_.data()), row_floats_ * 4, row_floats_ * 4}; }

  // scratch: by thread; tiles have tile_floats().
  void run(ThreadPool& pool, const std::vector<Scratch>& scratch);
  int64_t tile_floats() const { return int64_t{args_.classes + 4} * kernels_.lanes; }

 private:
  // Of one thread.
  struct Work {
    Buffer<uint64_t> keys;
    Buffer<float> kept;  // as OverlapArgs has it
  };

  void place_defaults(const Graph& graph, const Node& node);
  int candidates(int label, uint64_t* keys) const;
  void suppress(int label, Work& work);
  void write_rows();

  const Kernels& kernels_;
  Detection fields_;
  int most_;  // of a class that rows can show
  std::vector<DetectMap> maps_;
  Buffer<float> defaults_, scores_, corners_, rows_;
  Buffer<uint64_t> found_;   // [labels][most_]
  std::vector<int> counts_;  // of them by label
  std::vector<Work> work_;   // by thread
  DetectArgs args_{};
  int64_t row_floats_;
};

}  // namespace netsuke
