#include "graph/codebook.h"

#include <cstddef>

namespace netsuke {

std::optional<Codebook> codebook_of(const float* weight, const float* scale, int outputs, int64_t terms) {
  Codebook book;
  for (int64_t k = 0; k < outputs * terms; ++k) {
    if (book.code_of(weight[k]) < book.count) continue;
    if (book.count == kCodebookValues) return std::nullopt;
    book.value[book.count++] = weight[k] + 0.0f;
  }
  for (int o = 0; scale && o < outputs; ++o)
    for (const float value : book.value)
      if (value != 0 && scale[o] != 0 && value * scale[o] == 0) return std::nullopt;
  return book;
}

Buffer<float> repeated(const Codebook& book) {
  Buffer<float> table(kTableFloats);
  for (int i = 0; i < kTableFloats; ++i) table[static_cast<size_t>(i)] = book.value[i % kCodebookValues];
  return table;
}

}  // namespace netsuke
