#include "thread_pool.hpp"

#include "neuralinv/threads.hpp"

#include <pthread.h>
#include <signal.h>
#if defined(__linux__)
#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace neuralinv {
namespace {

// After its work a thread looks out for more for this long: the calls of a loop then find it awake. Sleeping and waking
// takes about as long; anybody else who wants the core waits no longer than that.
constexpr auto patience = std::chrono::microseconds(20);

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

struct Job {
    void (*body)(void*, std::int64_t);
    void* context;
    std::int64_t pieces;
    std::atomic<std::int64_t> next{0};

    void work() {
        for (std::int64_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) body(context, piece);
    }
};

class Worker {
   public:
    Worker() {
        // Signals are for the threads that the application knows.
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            std::thread([this] { run(); }).detach();
        } catch (...) {
            pthread_sigmask(SIG_SETMASK, &before, nullptr);
            throw;
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }

    void offer(Job& job) {
        job_ = &job;
        state_.store(offered);  // sequentially consistent, as is `asleep_`: one of the two threads sees the other
        if (asleep_.load()) {
            const std::lock_guard<std::mutex> lock(mutex_);
            awake_.notify_one();
        }
    }

    // Take back what the worker has not begun, or wait until it is done.
    void settle() {
        int expected = offered;
        if (state_.compare_exchange_strong(expected, idle)) return;
        for (int spins = 0; state_.load(std::memory_order_acquire) != idle; ++spins)
            spins < 1000 ? pause() : std::this_thread::yield();
    }

   private:
    enum State { idle, offered, busy };

    void run() {
        for (;;) {
            const auto deadline = std::chrono::steady_clock::now() + patience;
            while (state_.load(std::memory_order_relaxed) != offered && std::chrono::steady_clock::now() < deadline)
                for (int spins = 0; spins < 16; ++spins) pause();
            if (state_.load() != offered) {
                std::unique_lock<std::mutex> lock(mutex_);
                asleep_.store(true);
                awake_.wait(lock, [this] { return state_.load() == offered; });
                asleep_.store(false);
            }
            int expected = offered;
            if (!state_.compare_exchange_strong(expected, busy)) continue;
            job_->work();
            state_.store(idle, std::memory_order_release);
        }
    }

    std::atomic<int> state_{idle};
    std::atomic<bool> asleep_{false};
    Job* job_ = nullptr;
    std::mutex mutex_;
    std::condition_variable awake_;
};

struct Pool {
    std::mutex in_use;
    std::vector<std::unique_ptr<Worker>> workers;

    // Have `count` workers, or as many as the system grants.
    std::size_t grow(std::size_t count) {
        try {
            while (workers.size() < count) workers.push_back(std::make_unique<Worker>());
        } catch (const std::system_error&) {
        } catch (const std::bad_alloc&) {
        }
        return workers.size() < count ? workers.size() : count;
    }
};

// Never destroyed: the workers outlive main().
std::atomic<Pool*> pool{nullptr};

// What GCC calls to have a function run by so many threads, the caller among them.
using OpenmpParallel = void (*)(void (*function)(void*), void* context, unsigned threads, unsigned flags);
std::atomic<OpenmpParallel> borrowed{nullptr};

Pool& the_pool() {
    static const bool ready = [] {
        pool.store(new Pool);
        // Threads do not survive a fork: the child leaves the old ones alone and starts with an empty pool.
        pthread_atfork(nullptr, nullptr, [] {
            pool.store(new Pool);
            borrowed.store(nullptr);
        });
        return true;
    }();
    (void)ready;
    return *pool.load();
}

bool is_main_thread() {
#if defined(__linux__)
    return ::syscall(SYS_gettid) == ::getpid();
#else
    return false;
#endif
}

}  // namespace

void parallel_for(int threads, std::int64_t pieces, void (*body)(void*, std::int64_t), void* context) {
    Job job{body, context, pieces};
    const std::int64_t most = pieces < threads ? pieces : threads;
    if (most <= 1) return job.work();
    Pool& shared = the_pool();
    const std::unique_lock<std::mutex> lock(shared.in_use, std::try_to_lock);
    if (!lock.owns_lock()) return job.work();
    if (const OpenmpParallel run = borrowed.load(); run != nullptr && is_main_thread())
        return run([](void* work) { static_cast<Job*>(work)->work(); }, &job, unsigned(most), 0);
    const std::size_t helpers = shared.grow(std::size_t(most - 1));
    for (std::size_t w = 0; w < helpers; ++w) shared.workers[w]->offer(job);
    job.work();
    for (std::size_t w = 0; w < helpers; ++w) shared.workers[w]->settle();
}

bool borrow_threads([[maybe_unused]] const std::string& runtime) {
#if defined(__linux__)
    the_pool();  // for what happens at a fork
    if (void* const library = ::dlopen(runtime.c_str(), RTLD_NOW | RTLD_NOLOAD))
        borrowed.store(reinterpret_cast<OpenmpParallel>(::dlsym(library, "GOMP_parallel")));
#endif
    return borrows_threads();
}

bool borrows_threads() { return borrowed.load() != nullptr; }

}  // namespace neuralinv
