// Threads of our own: the core knows nothing of torch, whose OpenMP runtime is bundled with it, and a second runtime in
// the same process would keep threads of its own spinning beside torch's.
#pragma once

#include <cstdint>

namespace neuralinv {

// Call body(context, piece) for piece = 0..pieces-1 on at most `threads` threads, the caller among them; returns when all
// are done. Pieces are handed out in order. While another caller has the pool's threads, this one works alone: calls from
// many threads do not multiply. `body` must not throw. The child of a fork starts threads of its own.
void parallel_for(int threads, std::int64_t pieces, void (*body)(void* context, std::int64_t piece), void* context);

// The same for a callable.
template <class Body>
void parallel_for(int threads, std::int64_t pieces, Body& body) {
    parallel_for(
        threads, pieces, [](void* context, std::int64_t piece) { (*static_cast<Body*>(context))(piece); }, &body);
}

}  // namespace neuralinv
