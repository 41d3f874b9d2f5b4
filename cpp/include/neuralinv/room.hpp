// Memory that a range of a batch works in.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "simd.hpp"

namespace neuralinv::NEURALINV_TARGET {

// One piece of memory for vectors; a small one needs no heap.
class Room {
   public:
    Room() = default;
    ~Room() { std::free(heap_); }
    Room(const Room&) = delete;

    // Null: there is none. To be called once.
    void* take(std::int64_t bytes) {
        if (bytes <= std::int64_t(sizeof(local_))) return local_;
        if (posix_memalign(&heap_, NEURALINV_VECTOR_BYTES, std::size_t(bytes)) != 0) heap_ = nullptr;
        return heap_;
    }

   private:
    alignas(64) unsigned char local_[32768];
    void* heap_ = nullptr;
};

}  // namespace neuralinv::NEURALINV_TARGET
