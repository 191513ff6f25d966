#include "base/thread_pool.h"

#include <string>

#include "base/error.h"

namespace netsuke {
namespace {

constexpr int kMostThreads = 256;
constexpr int kSpins = 20000;  // some tens of microseconds

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  if (threads < 1 || threads > kMostThreads)
    fail("threads must be 1 to " + std::to_string(kMostThreads) + ", not " + std::to_string(threads) + ".");
  try {
    for (int t = 1; t < threads; ++t) workers_.emplace_back([this, t] { work(t); });
  } catch (...) {  // the machine refused a thread: end those that started, or their destructors would abort
    stop_.store(true);
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
    for (std::thread& w : workers_) w.join();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  { std::lock_guard<std::mutex> lock(mutex_); }
  wake_.notify_all();
  for (std::thread& w : workers_) w.join();
}

void ThreadPool::take_units(int thread) {
  for (int u; (u = next_.fetch_add(1, std::memory_order_relaxed)) < units_;) job_(context_, u, thread);
}

void ThreadPool::run(Job job, const void* context, int units) {
  if (workers_.empty() || units <= 1) {
    for (int u = 0; u < units; ++u) job(context, u, 0);
    return;
  }
  job_ = job;
  context_ = context;
  units_ = units;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  generation_.fetch_add(1);  // publishes the job
  if (asleep_.load() > 0) {
    { std::lock_guard<std::mutex> lock(mutex_); }
    wake_.notify_all();
  }
  take_units(0);
  for (int spin = 0; busy_.load(std::memory_order_acquire) > 0; ++spin) spin < kSpins ? relax() : std::this_thread::yield();
}

void ThreadPool::work(int thread) {
  unsigned seen = 0;
  while (true) {
    int spin = 0;
    while (generation_.load() == seen && !stop_.load() && spin < kSpins) {
      relax();
      ++spin;
    }
    if (generation_.load() == seen && !stop_.load()) {
      std::unique_lock<std::mutex> lock(mutex_);
      asleep_.fetch_add(1);
      wake_.wait(lock, [&] { return generation_.load() != seen || stop_.load(); });
      asleep_.fetch_sub(1);
    }
    if (stop_.load()) return;
    seen = generation_.load();
    take_units(thread);
    busy_.fetch_sub(1, std::memory_order_release);
  }
}

}  // namespace netsuke
