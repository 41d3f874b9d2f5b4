// Threads that work on one matrix together.
#pragma once

namespace neuralinv {

class Meeting;  // thread_pool.cpp

// One of them. All members of a team call the same functions in the same order.
struct Member {
    Meeting* meeting;
    int number;  // 0: the caller
    int size;    // of the team

    // Wait until every member is here. What any of them wrote before, all of them see after.
    void meet() const;
};

// Call body(context, member) on at most `threads` threads at the same time, the caller among them, who is member 0; returns when
// all are done. The team is as large as threads can be had right now. `body` must not throw. Threads as for parallel_for.
void in_a_team(int threads, void (*body)(const void* context, const Member& member), const void* context);

// The same for a callable.
template <class Body>
void in_a_team(int threads, const Body& body) {
    in_a_team(threads, [](const void* context, const Member& member) { (*static_cast<const Body*>(context))(member); }, &body);
}

}  // namespace neuralinv
