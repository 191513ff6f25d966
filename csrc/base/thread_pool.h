// A pool that runs `units` independent pieces of one job. Workers spin for a while before they sleep, so that a
// network of many short layers does not pay for waking them at each one.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

namespace netsuke {

class ThreadPool {
 public:
  using Job = void (*)(const void* context, int unit, int thread);

  explicit ThreadPool(int threads);  // throws Error for a number that no machine has
  ~ThreadPool();
  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls job(context, u, thread) once for every u in [0, units), and returns when all are done.
  void run(Job job, const void* context, int units);

 private:
  void work(int thread);
  void take_units(int thread);

  std::vector<std::thread> workers_;
  Job job_ = nullptr;
  const void* context_ = nullptr;
  int units_ = 0;
  std::atomic<int> next_{0};
  std::atomic<int> busy_{0};
  std::atomic<unsigned> generation_{0};
  std::atomic<bool> stop_{false};
  std::atomic<int> asleep_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
};

}  // namespace netsuke
