#include "thread_pool.hpp"

#include "neuralinv/team.hpp"
#include "neuralinv/threads.hpp"

#include <pthread.h>
#include <signal.h>
#if defined(__linux__)
#include <dlfcn.h>
#include <sched.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace neuralinv {
namespace {

using Clock = std::chrono::steady_clock;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

}  // namespace

// Where the members of a team wait for each other: awake for a while, since they are seldom long apart, then asleep. Who slept has
// a claim to its core; who yielded it to a thread that is waiting awake, too, would get it back milliseconds later.
class Meeting {
   public:
    void wait(int size) {
        if (size == 1) return;
        const std::uint32_t round = round_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1, std::memory_order_acq_rel) == size - 1) {
            arrived_.store(0, std::memory_order_relaxed);
            round_.store(round + 1);  // sequentially consistent, as is `asleep_`: one of two threads sees the other
            if (asleep_.load() > 0) wake_all();
            return;
        }
        // Longer than it takes to wake: else those who were woken would find the others asleep.
        for (int spins = 0; spins < 4000; ++spins) {
            if (round_.load(std::memory_order_acquire) != round) return;
            pause();
        }
        const auto began = Clock::now();
        if (++sleeps_ == 8) crowded_.store(true, std::memory_order_relaxed);
        ++asleep_;
        while (round_.load() == round) sleep_while(round);
        --asleep_;
        note_wait(began);
    }

    // Somebody has waited since then.
    void note_wait(Clock::time_point began) {
        if (Clock::now() - began > std::chrono::milliseconds(1)) crowded_.store(true, std::memory_order_relaxed);
    }

    // Whether anybody waited so long, or so often, that others must have lost their cores.
    bool was_crowded() const { return crowded_.load(std::memory_order_relaxed); }

   private:
#if defined(__linux__)
    static_assert(sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t), "the system looks at the number itself");
    void sleep_while(std::uint32_t round) { ::syscall(SYS_futex, &round_, FUTEX_WAIT_PRIVATE, round, nullptr, nullptr, 0); }
    void wake_all() { ::syscall(SYS_futex, &round_, FUTEX_WAKE_PRIVATE, std::numeric_limits<int>::max(), nullptr, nullptr, 0); }
#else
    void sleep_while(std::uint32_t) { std::this_thread::yield(); }
    void wake_all() {}
#endif

    alignas(64) std::atomic<int> arrived_{0};
    alignas(64) std::atomic<std::uint32_t> round_{0};
    std::atomic<int> asleep_{0}, sleeps_{0};  // how many sleep now; how often anybody did
    std::atomic<bool> crowded_{false};
};

namespace {

// After its work a thread looks out for more for this long: the calls of a loop then find it awake. Sleeping and waking
// takes about as long; anybody else who wants the core waits no longer than that.
constexpr auto patience = std::chrono::microseconds(20);

// What several threads are called for. Each runs it once.
struct Job {
    void (*run)(Job& job, int number);  // number: of the worker, from 1 on; 0: the caller
};

// Pieces, for whoever comes.
struct Pieces : Job {
    void (*body)(void*, std::int64_t);
    void* context;
    std::int64_t count;
    std::atomic<std::int64_t> next{0};

    Pieces(void (*piece)(void*, std::int64_t), void* with, std::int64_t pieces)
        : Job{[](Job& job, int) { static_cast<Pieces&>(job).work(); }}, body(piece), context(with), count(pieces) {}

    void work() {
        for (std::int64_t piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < count;) body(context, piece);
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

    void offer(Job& job, int number) {
        job_ = &job;
        number_ = number;
        state_.store(offered);  // sequentially consistent, as is `asleep_`: one of the two threads sees the other
        if (asleep_.load()) {
            const std::lock_guard<std::mutex> lock(mutex_);
            awake_.notify_one();
        }
    }

    // Take back what the worker has not begun. False: it has.
    bool take_back() {
        int expected = offered;
        return state_.compare_exchange_strong(expected, idle);
    }

    // Wait, but no longer than a worker takes to wake, until the worker has begun. False: it has not, and will not.
    bool begins_in_time() {
        for (int spins = 0; spins < 20000; ++spins) {
            if (state_.load(std::memory_order_relaxed) != offered) return true;
            pause();
        }
        return !take_back();
    }

    // Take back what the worker has not begun, or wait until it is done.
    void settle() {
        if (take_back()) return;
        for (int spins = 0; state_.load(std::memory_order_acquire) != idle; ++spins)
            spins < 1000 ? pause() : std::this_thread::yield();
    }

   private:
    enum State { idle, offered, busy };

    void run() {
        for (;;) {
            const auto deadline = Clock::now() + patience;
            while (state_.load(std::memory_order_relaxed) != offered && Clock::now() < deadline)
                for (int spins = 0; spins < 16; ++spins) pause();
            if (state_.load() != offered) {
                std::unique_lock<std::mutex> lock(mutex_);
                asleep_.store(true);
                awake_.wait(lock, [this] { return state_.load() == offered; });
                asleep_.store(false);
            }
            int expected = offered;
            if (!state_.compare_exchange_strong(expected, busy)) continue;
            job_->run(*job_, number_);
            state_.store(idle, std::memory_order_release);
        }
    }

    std::atomic<int> state_{idle};
    std::atomic<bool> asleep_{false};
    Job* job_ = nullptr;
    int number_ = 0;
    std::mutex mutex_;
    std::condition_variable awake_;
};

struct Pool {
    std::mutex in_use;
    std::vector<std::unique_ptr<Worker>> workers;

    // Offer a job to `count` workers, or as many as there can be; returns how many.
    std::size_t offer(Job& job, std::size_t count) {
        count = grow(count);
        for (std::size_t w = 0; w < count; ++w) workers[w]->offer(job, int(w) + 1);
        return count;
    }

   private:
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

// What GCC calls to have a function run by so many threads, the caller among them; which of them a thread is, and how many came.
struct Openmp {
    void (*parallel)(void (*function)(void*), void* context, unsigned threads, unsigned flags);
    int (*number)();
    int (*count)();
};
std::atomic<const Openmp*> borrowed{nullptr};

// A function for all members of a team.
struct Teamwork : Job {
    void (*body)(const void*, const Member&);
    const void* context;
    Meeting& meeting;
    const Openmp* openmp = nullptr;
    std::atomic<int> size{0};  // unknown as long as it is 0
    Clock::time_point done;    // for the caller

    Teamwork(void (*work)(const void*, const Member&), const void* with, Meeting& place)
        : Job{[](Job& job, int number) { static_cast<Teamwork&>(job).join(number); }}, body(work), context(with), meeting(place) {}

    void join(int number) {
        int members = 0;
        for (int spins = 0; (members = size.load(std::memory_order_acquire)) == 0; ++spins) spins < 10000 ? pause() : std::this_thread::yield();
        if (number < members) run_body(number, members);
    }

    void run_body(int number, int members) {
        body(context, Member{&meeting, number, members});
        if (number == 0) done = Clock::now();
    }
};

// Never destroyed: the workers outlive main().
std::atomic<Pool*> pool{nullptr};

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

// The pool, as long as nobody else has it.
struct Threads {
    Pool& pool = the_pool();
    const std::unique_lock<std::mutex> lock{pool.in_use, std::try_to_lock};
    const bool free = lock.owns_lock();

    // Whose threads are used instead, or null.
    const Openmp* openmp() const {
        const Openmp* const found = borrowed.load();
        return found != nullptr && is_main_thread() ? found : nullptr;
    }
};

}  // namespace

void parallel_for(int threads, std::int64_t pieces, void (*body)(void*, std::int64_t), void* context) {
    Pieces job(body, context, pieces);
    const std::int64_t most = pieces < threads ? pieces : threads;
    if (most <= 1) return job.work();
    const Threads shared;
    if (!shared.free) return job.work();
    if (const Openmp* const openmp = shared.openmp())
        return openmp->parallel([](void* work) { static_cast<Pieces*>(work)->work(); }, &job, unsigned(most), 0);
    const std::size_t helpers = shared.pool.offer(job, std::size_t(most - 1));
    job.work();
    for (std::size_t w = 0; w < helpers; ++w) shared.pool.workers[w]->settle();
}

void in_a_team(int threads, void (*body)(const void*, const Member&), const void* context) {
    // Until then everybody works alone: somebody else's threads keep the cores busy, as those of a BLAS do for a while after its work,
    // and a team whose members take turns with them takes many times as long as one thread.
    static std::atomic<Clock::rep> alone_until{0};
    constexpr auto avoided = std::chrono::milliseconds(100);

    Meeting meeting;
    const auto alone = [&] { body(context, Member{&meeting, 0, 1}); };
    if (threads <= 1 || Clock::now().time_since_epoch().count() < alone_until.load(std::memory_order_relaxed)) return alone();
    const Threads shared;
    if (!shared.free) return alone();
    Teamwork job(body, context, meeting);
    if (const Openmp* const openmp = shared.openmp()) {
        job.openmp = openmp;
        openmp->parallel(
            [](void* work) {
                auto& team = *static_cast<Teamwork*>(work);
                team.run_body(team.openmp->number(), team.openmp->count());
            },
            &job, unsigned(threads), 0);
    } else {
        const std::size_t offers = shared.pool.offer(job, std::size_t(threads - 1));
        std::size_t helpers = 0;
        // Workers are numbered in the order of their offers: a team ends before the first that does not come.
        while (helpers < offers && shared.pool.workers[helpers]->begins_in_time()) ++helpers;
        job.size.store(int(helpers) + 1, std::memory_order_release);
        job.run_body(0, int(helpers) + 1);
        for (std::size_t w = 0; w < offers; ++w) shared.pool.workers[w]->settle();
    }
    meeting.note_wait(job.done);
    if (meeting.was_crowded()) alone_until.store((Clock::now() + avoided).time_since_epoch().count(), std::memory_order_relaxed);
}

void Member::meet() const { meeting->wait(size); }

bool borrow_threads([[maybe_unused]] const std::string& runtime) {
#if defined(__linux__)
    the_pool();  // for what happens at a fork
    if (void* const library = ::dlopen(runtime.c_str(), RTLD_NOW | RTLD_NOLOAD)) {
        static Openmp found;  // written once: a second library has nothing to add
        if (!borrows_threads()) {
            found.parallel = reinterpret_cast<decltype(found.parallel)>(::dlsym(library, "GOMP_parallel"));
            found.number = reinterpret_cast<decltype(found.number)>(::dlsym(library, "omp_get_thread_num"));
            found.count = reinterpret_cast<decltype(found.count)>(::dlsym(library, "omp_get_num_threads"));
            if (found.parallel && found.number && found.count) borrowed.store(&found);
        }
    }
#endif
    return borrows_threads();
}

int usable_processors() {
#if defined(__linux__)
    cpu_set_t processors;
    if (::sched_getaffinity(0, sizeof processors, &processors) == 0) return CPU_COUNT(&processors);
#endif
    return std::numeric_limits<int>::max();
}

bool borrows_threads() { return borrowed.load() != nullptr; }

}  // namespace neuralinv
