// The OpenMP threads that PyTorch already has: a second pool would fight it for the cores.
#pragma once

#include <dlfcn.h>

#include <cstdint>

namespace netsuke::train {

// body(i) for every i of 0 to count - 1, on at most `threads` threads. Which thread takes which i is not defined.
template <class Body>
void parallel(int64_t count, int threads, const Body& body) {
  struct Work {
    const Body* body;
    int64_t count, next;
  } work{&body, count, 0};
  const auto run = [](void* data) {
    auto* w = static_cast<Work*>(data);
    for (;;) {
      const int64_t i = __atomic_fetch_add(&w->next, 1, __ATOMIC_RELAXED);
      if (i >= w->count) return;
      (*w->body)(i);
    }
  };
  // The runtime that is loaded decides; without one, as with another OpenMP than GNU's, the caller does it all.
  using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
  static const auto gomp = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  if (gomp && threads > 1 && count > 1)
    gomp(run, &work, static_cast<unsigned>(threads < count ? threads : count), 0);
  else
    run(&work);
}

}  // namespace netsuke::train
