// Results past the caches: what is written there need not be read before, and what is in the caches stays. For results that
// would not fit anyway.
#pragma once

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// In bytes. Measured: with 8 MiB it makes no difference, from 16 MiB on batches take 0.75 to 0.95 of the time; what fits into the
// third-level cache is better off there.
inline constexpr std::int64_t largest_cached_result = std::int64_t(16) << 20;

#if defined(__x86_64__)

inline constexpr bool can_stream = true;

// target: a multiple of the size of a vector.
template <class T>
NEURALINV_INLINE void stream_vector(Vector<T> value, T* target) {
#if NEURALINV_VECTOR_BYTES == 64
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target), __m512i(value));
#elif NEURALINV_VECTOR_BYTES == 32
    _mm256_stream_si256(reinterpret_cast<__m256i*>(target), __m256i(value));
#else
    _mm_stream_si128(reinterpret_cast<__m128i*>(target), __m128i(value));
#endif
}

// To be called before another thread may read what was streamed.
NEURALINV_INLINE void finish_streaming() { _mm_sfence(); }

#else

inline constexpr bool can_stream = false;

template <class T>
NEURALINV_INLINE void stream_vector(Vector<T> value, T* target) {
    store_vector(value, target);
}

NEURALINV_INLINE void finish_streaming() {}

#endif

// Whether results of `bytes` in all are streamed.
NEURALINV_INLINE bool streams(std::int64_t bytes) { return can_stream && bytes > largest_cached_result; }

// Copy `count` entries; what shares a line with others at both ends goes through the caches.
template <class T>
NEURALINV_INLINE void stream_entries(const T* source, std::int64_t count, T* target) {
    constexpr std::int64_t line = 64;
    const std::int64_t before = (line - std::int64_t(reinterpret_cast<std::uintptr_t>(target) % line)) % line / std::int64_t(sizeof(T));
    const std::int64_t head = before < count ? before : count, end = head + (count - head) / lanes<T> * lanes<T>;
    __builtin_memcpy(target, source, std::size_t(head) * sizeof(T));
    for (std::int64_t i = head; i < end; i += lanes<T>) stream_vector(load_vector(source + i), target + i);
    __builtin_memcpy(target + end, source + end, std::size_t(count - end) * sizeof(T));
}

}  // namespace neuralinv::NEURALINV_TARGET
