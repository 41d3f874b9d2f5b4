// Threads: those of an OpenMP runtime that is loaded already, where somebody names it (threads.hpp), else our own. The core knows nothing
// of torch, which bundles its runtime; but threads of that one stay awake for milliseconds after an operation of torch's, and
// would share the cores with ours.
#pragma once

#include <cstdint>

namespace neuralinv {

// Call body(context, piece) for piece = 0..pieces-1 on at most `threads` threads, the caller among them; returns when all
// are done. Pieces are handed out in order. While another caller has the pool's threads, this one works alone: calls from
// many threads do not multiply. `body` must not throw. Borrowed threads serve the main thread alone, since OpenMP keeps a
// team for each thread that asks; the child of a fork, whose OpenMP is broken, starts threads of its own.
void parallel_for(int threads, std::int64_t pieces, void (*body)(void* context, std::int64_t piece), void* context);

// The same for a callable.
template <class Body>
void parallel_for(int threads, std::int64_t pieces, Body& body) {
    parallel_for(
        threads, pieces, [](void* context, std::int64_t piece) { (*static_cast<Body*>(context))(piece); }, &body);
}

}  // namespace neuralinv
