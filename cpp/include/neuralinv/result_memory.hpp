// Memory for large results, kept for the next one when a result is dropped.
//
// The C library maps what is larger than 32 MiB anew with every call, and smaller results, too, where they lie at the end of its
// heap; the system clears what it maps: for small matrices that takes longer than inverting them.
#pragma once

#include <cstdint>

namespace neuralinv {

class ResultMemory {
   public:
    // Throws std::bad_alloc.
    explicit ResultMemory(std::int64_t bytes);
    ~ResultMemory();
    ResultMemory(const ResultMemory&) = delete;
    ResultMemory& operator=(const ResultMemory&) = delete;

    void* data() const { return data_; }
    std::int64_t bytes() const { return bytes_; }

   private:
    void* data_;
    std::int64_t bytes_;
    std::int64_t room_;
};

// Bytes that are kept at the moment.
std::int64_t spare_memory();

}  // namespace neuralinv
