// One error type for everything the engine refuses. The message is for the user: what is wrong, what to do.
#pragma once

#include <stdexcept>
#include <string>

namespace netsuke {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const std::string& message) { throw Error(message); }

}  // namespace netsuke
