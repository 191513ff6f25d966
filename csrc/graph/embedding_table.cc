#include "graph/embedding_table.h"

#include <cstring>

#include "base/cpu.h"
#include "base/error.h"
#include "graph/limits.h"
#include "kernels/kernels.h"

namespace netsuke {
namespace {

size_t checked_bytes(int64_t count, int64_t row_bytes, int64_t columns, int64_t padding) {
  if (count < 1 || columns < 1 || columns > MAX_CHANNELS || row_bytes != kRowScaleBytes + (columns + 7) / 8 ||
      padding < -1 || padding >= count || count > MAX_INTEGER / row_bytes)
    fail("the sizes of an embedding table do not fit together.");
  return static_cast<size_t>(count * row_bytes);
}

}  // namespace

EmbeddingTable::EmbeddingTable(const uint8_t* rows, int64_t count, int64_t row_bytes, int64_t columns, int64_t padding, bool mean,
                               const std::string& isa)
    : kernels_(select_kernels(isa)),
      rows_(checked_bytes(count, row_bytes, columns, padding)),
      count_(count), row_bytes_(row_bytes), columns_(columns), padding_(padding), mean_(mean) {
  std::memcpy(rows_.data(), rows, rows_.size());
}

std::string EmbeddingTable::isa() const { return kernels_.isa; }

void EmbeddingTable::look_up(const int64_t* indices, int64_t terms, const int64_t* offsets, int64_t bags, const float* weights,
                             float* sums) const {
  bool rows = true, ascending = offsets[0] == 0 && offsets[bags] == terms;
  for (int64_t t = 0; t < terms; ++t) rows &= static_cast<uint64_t>(indices[t]) < static_cast<uint64_t>(count_);
  for (int64_t b = 0; b < bags; ++b) ascending &= offsets[b] <= offsets[b + 1];
  if (!rows) fail("an index is not a row of the table: they go from 0 to " + std::to_string(count_ - 1) + ".");
  if (!ascending) fail("the offsets must ascend from 0 to the number of indices, " + std::to_string(terms) + ".");
  kernels_.embedding_bag({rows_.data(), row_bytes_, columns_, padding_, indices, weights, terms, offsets, bags, mean_, sums});
}

}  // namespace netsuke
