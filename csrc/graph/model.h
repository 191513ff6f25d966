// A graph made ready to run on one instruction set: planned memory and a list of tasks. Nothing is allocated while it
// runs. Images of a batch run one after another, each split over the threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "graph/prepare.h"

namespace netsuke {

class Model {
 public:
  // An empty isa lets NETSUKE_ISA or the machine decide. Throws Error.
  Model(Graph graph, const std::string& isa, int threads);

  const Graph& graph() const { return graph_; }
  const char* isa() const { return kernels_.isa; }
  int threads() const { return pool_.threads(); }
  // How many weights the sparse form of a node holds, or -1 where it has none.
  int64_t sparse_weights(int node) const {
    const SparseLinearArgs& sparse = tasks_[static_cast<size_t>(node)]->sparse;
    return sparse.slices > 0 ? sparse.begin[sparse.slices] * kernels_.lanes : -1;
  }

  bool by_codebook(int node) const { return tasks_[static_cast<size_t>(node)]->codebook.terms > 0; }

  // n images as planes (C, H, W), one after another; outputs[k] receives n maps of output k, as planes.
  // Throws Error if float input holds a number that is not finite, or if uint8 input meets no transform.
  void run(const float* images, int64_t n, float* const* outputs);
  void run(const uint8_t* images, int64_t n, float* const* outputs);

  // One node by itself: put its inputs, run it, get what it made. Values as planes of floats; bits as -1 and +1.
  void set_value(int id, const float* planes);
  void get_value(int id, float* planes) const;
  void run_node(int index);

  // Nanoseconds of each node, added up over all runs while `timed` is true.
  bool timed = false;
  std::vector<int64_t> nanoseconds;

 private:
  void plan();
  void plan_input();
  void settle_tiles();
  void run_tasks();
  template <class T>
  void run_images(const T* images, int64_t n, float* const* outputs);

  Graph graph_;
  const Kernels& kernels_;
  ThreadPool pool_;
  Buffer<uint8_t> arena_, scratch_memory_;
  Buffer<float> zeros_, input_scale_, input_shift_;
  std::vector<Place> places_;  // by value
  std::vector<std::unique_ptr<Task>> tasks_;
  std::vector<Scratch> scratch_;  // by thread
  TransformArgs input_{};
  int first_task_ = 0;
};

}  // namespace netsuke
