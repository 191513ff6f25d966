#pragma once

#include "train/unit.h"

namespace netsuke::train {

// The kernels of the best instruction set that this machine runs, or of the one that NETSUKE_ISA names.
const Kernels& select_kernels();

}  // namespace netsuke::train
