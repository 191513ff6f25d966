// The tensors of a file with its coded arrays decoded behind them (docs/format.md, section 3; docs/coding.md).
#pragma once

#include "graph/container.h"
#include "graph/fields.h"
#include "graph/graph.h"

namespace netsuke {

// Fills g.floats and g.bits; all floats are finite. Throws Error where the list is wrong or a stream damaged.
void expand(Fields& top, const Container&, Graph& g, int threads);

}  // namespace netsuke
