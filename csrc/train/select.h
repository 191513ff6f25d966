#pragma once

#include <string>
#include <vector>

namespace netsuke::train {

// Instruction sets that this machine runs, slowest first; the last is in use until use() names another. It returns
// whether there is one of that name.
std::vector<std::string> available();
bool use(const std::string& isa);

}  // namespace netsuke::train
