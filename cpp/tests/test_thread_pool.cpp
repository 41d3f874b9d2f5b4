// Every piece runs once, whoever calls, from however many threads, and in the child of a fork.
#include "neuralinv/team.hpp"
#include "thread_pool.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.hpp"

namespace {

void run_once(int threads, std::int64_t pieces) {
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(pieces));
    auto body = [&](std::int64_t piece) { ++runs[static_cast<std::size_t>(piece)]; };
    neuralinv::parallel_for(threads, pieces, body);
    for (std::int64_t piece = 0; piece < pieces; ++piece)
        CHECK(runs[static_cast<std::size_t>(piece)] == 1, "piece %ld of %ld ran %d times", long(piece), long(pieces),
              runs[static_cast<std::size_t>(piece)].load());
}

// Members have numbers from 0 on, each its own; what one wrote before they met, the others read after.
void meet_often(int threads) {
    constexpr int rounds = 300;
    std::vector<std::atomic<int>> runs(static_cast<std::size_t>(threads));
    std::vector<int> said(static_cast<std::size_t>(threads));  // plain memory: a race would be one
    std::atomic<int> largest{0}, wrong{0};
    const auto body = [&](const neuralinv::Member& me) {
        ++runs[static_cast<std::size_t>(me.number)];
        largest = me.size;
        for (int round = 0; round < rounds; ++round) {
            said[static_cast<std::size_t>(me.number)] = round * me.number;
            me.meet();
            const int next = (me.number + 1) % me.size;
            wrong += said[static_cast<std::size_t>(next)] != round * next;
            me.meet();
        }
    };
    neuralinv::in_a_team(threads, body);
    CHECK(largest >= 1 && largest <= threads && wrong == 0, "%d members of at most %d, %d wrong", largest.load(), threads, wrong.load());
    for (int number = 0; number < threads; ++number)
        CHECK(runs[static_cast<std::size_t>(number)] == (number < largest), "member %d ran %d times", number, runs[static_cast<std::size_t>(number)].load());
}

// A team of which somebody came late: the next ones are of one, for a while.
void avoid_crowds() {
    using namespace std::chrono_literals;
    std::this_thread::sleep_for(200ms);  // whatever was before
    std::atomic<int> late{0}, next{0};
    const auto lazy = [&](const neuralinv::Member& me) {
        late = me.size;
        if (me.number == 0) std::this_thread::sleep_for(10ms);
        me.meet();
    };
    const auto count = [&](const neuralinv::Member& me) { next = me.size; };
    neuralinv::in_a_team(2, lazy);
    neuralinv::in_a_team(2, count);
    CHECK(late == 1 || next == 1, "a team of %d after a late one of %d", next.load(), late.load());
}

}  // namespace

int main() {
    for (int threads : {1, 2, 3, 8})
        for (int repeat = 0; repeat < 20; ++repeat) meet_often(threads);
    avoid_crowds();

    for (int threads : {1, 2, 3, 8})
        for (std::int64_t pieces : {0, 1, 2, 7, 100})
            for (int repeat = 0; repeat < 200; ++repeat) run_once(threads, pieces);

    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller)
        callers.emplace_back([] {
            for (int repeat = 0; repeat < 500; ++repeat) run_once(4, 16);
            for (int repeat = 0; repeat < 20; ++repeat) meet_often(3);
        });
    for (std::thread& caller : callers) caller.join();

#if !defined(__SANITIZE_THREAD__)  // which does not support threads started after a fork
    const pid_t child = fork();
    if (child == 0) {
        run_once(4, 100);
        meet_often(2);
        _exit(neuralinv::test::failures);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child of a fork ended with %d", status);
#endif
    return neuralinv::test::report("thread pool");
}
