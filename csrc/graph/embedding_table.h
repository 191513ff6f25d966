// An embedding table in memory, and sums of its rows (docs/embeddings.md).
#pragma once

#include <cstdint>
#include <string>

#include "base/memory.h"

namespace netsuke {

struct Kernels;

class EmbeddingTable {
 public:
  // Copies the rows. padding: the row that does not count, or -1. Throws Error where the sizes do not fit, and for `isa` as
  // select_kernels.
  EmbeddingTable(const uint8_t* rows, int64_t count, int64_t row_bytes, int64_t columns, int64_t padding, bool mean,
                 const std::string& isa);

  std::string isa() const;
  int64_t columns() const { return columns_; }

  // sums: [bags][columns]. offsets: [bags + 1]. weights: [terms], or null. Throws Error for an index that is no row, and
  // for offsets that do not ascend from 0 to `terms`.
  void look_up(const int64_t* indices, int64_t terms, const int64_t* offsets, int64_t bags, const float* weights,
               float* sums) const;

 private:
  const Kernels& kernels_;
  Buffer<uint8_t> rows_;
  int64_t count_, row_bytes_, columns_, padding_;
  bool mean_;
};

}  // namespace netsuke
