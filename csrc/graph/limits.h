// The limits of a file: the same names and numbers as src/netsuke/artifact/contract.py (a test compares them).
#pragma once

#include <cstdint>

namespace netsuke {

constexpr int64_t SCHEMA_VERSION = 1;
constexpr int64_t MAX_HEADER_BYTES = 4096;
constexpr int64_t MAX_GRAPH_BYTES = 1 << 22;
constexpr int64_t MAX_JSON_DEPTH = 8;
constexpr int64_t MAX_INTEGER = 2147483647;
constexpr int64_t MAX_NAME = 200;
constexpr int64_t MAX_NODES = 1 << 16;
constexpr int64_t MAX_INPUTS = 64;
constexpr int64_t MAX_STEPS = 64;
constexpr int64_t MAX_OUTPUTS = 64;
constexpr int64_t MAX_CHANNELS = 1 << 16;
constexpr int64_t MAX_EXTENT = 1 << 14;
constexpr int64_t MAX_KERNEL = 255;
constexpr int64_t MAX_WINDOW = 1 << 22;
constexpr int64_t MAX_INT8_WINDOW = 1 << 16;
constexpr int64_t MAX_FIXED_WINDOW = 1 << 15;
constexpr int64_t MAX_BIAS = 1 << 30;
constexpr int64_t MAX_SHIFT = 30;
constexpr int64_t MAX_EXPONENT = 32;
constexpr int64_t MAX_ELEMENTS = 1 << 24;
constexpr int64_t MAX_TOTAL_ELEMENTS = 3 << 25;
constexpr int64_t MAX_MACS = int64_t{1} << 38;
constexpr int64_t MAX_PACKED = 1 << 26;
constexpr int64_t MAX_BORDER_TABLE = 1 << 22;
constexpr int64_t MAX_LABELS = 1 << 12;
constexpr int64_t MAX_BOXES = 1 << 20;
constexpr int64_t MAX_SHARED = 1 << 22;

}  // namespace netsuke
