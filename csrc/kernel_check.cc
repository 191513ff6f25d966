// Runs whole files and prints digests, so that every instruction set, native or emulated, is compared with the
// reference: tests/engine/test_apart.py makes random graphs, this program runs them, the digests must agree.
//
// Reads lines "FILE INPUT ISA THREADS" from standard input. INPUT holds float32 images. Prints for each line the
// SHA-256 of all outputs (every NaN counts as the same one), one image's after another's, or "error: ..." and the message.
//
// A line "table ROWS INPUT ISA COLUMNS PADDING MEAN" looks rows of an embedding table up. ROWS holds them; INPUT the numbers
// of bags and of indices, the offsets and the indices, all int64, then float32 weights, one an index, or none.
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/embedding_table.h"
#include "graph/model.h"
#include "graph/sha256.h"

namespace {

std::vector<char> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) netsuke::fail("cannot open " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

void add(std::vector<float>& output, netsuke::Sha256& hash) {
  for (float& x : output)
    if (std::isnan(x)) x = std::numeric_limits<float>::quiet_NaN();
  hash.update(output.data(), output.size() * 4);
}

std::string look_up(std::istringstream& fields) {
  std::string path, input, isa;
  int64_t columns = 0, padding = -1;
  bool mean = false;
  fields >> path >> input >> isa >> columns >> padding >> mean;
  const std::vector<char> rows = read(path), bags = read(input);
  const int64_t row_bytes = 2 + (columns + 7) / 8;
  const netsuke::EmbeddingTable table(reinterpret_cast<const uint8_t*>(rows.data()), static_cast<int64_t>(rows.size()) / row_bytes,
                                      row_bytes, columns, padding, mean, isa);
  const int64_t* numbers = reinterpret_cast<const int64_t*>(bags.data());
  const int64_t count = numbers[0], terms = numbers[1], *offsets = numbers + 2, *indices = offsets + count + 1;
  const bool weighted = static_cast<int64_t>(bags.size()) > 8 * (3 + count + terms);
  std::vector<float> sums(static_cast<size_t>(count * columns));
  table.look_up(indices, terms, offsets, count, weighted ? reinterpret_cast<const float*>(indices + terms) : nullptr, sums.data());
  netsuke::Sha256 hash;
  add(sums, hash);
  return hash.hex();
}

std::string digest(const std::string& path, const std::string& input, const std::string& isa, int threads) {
  const std::vector<char> data = read(path), images = read(input);
  netsuke::Model model(netsuke::read_graph(reinterpret_cast<const uint8_t*>(data.data()), data.size(), threads), isa, threads);
  const netsuke::Graph& g = model.graph();
  const int64_t n = static_cast<int64_t>(images.size()) / 4 / g.values[0].elements();
  std::vector<std::vector<float>> outputs;
  std::vector<float*> pointers;
  for (const netsuke::Output& o : g.outputs) {
    outputs.emplace_back(static_cast<size_t>(n * g.values[static_cast<size_t>(o.value)].elements()));
    pointers.push_back(outputs.back().data());
  }
  model.run(reinterpret_cast<const float*>(images.data()), n, pointers.data());
  netsuke::Sha256 hash;
  for (std::vector<float>& output : outputs) add(output, hash);
  return hash.hex();
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream fields(line);
    std::string path, input, isa;
    int threads = 1;
    fields >> path;
    try {
      if (path == "table") {
        std::cout << look_up(fields) << std::endl;
        continue;
      }
      fields >> input >> isa >> threads;
      std::cout << digest(path, input, isa, threads) << std::endl;
    } catch (const netsuke::Error& e) {
      std::cout << "error: " << e.what() << std::endl;
    }
  }
}
