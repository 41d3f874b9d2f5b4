// Scratch memory of kernels, and large pages for large memory.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace neuralinv {

inline constexpr std::size_t alignment = 64;

struct Release {
    void operator()(void* memory) const { ::operator delete(memory, std::align_val_t(alignment)); }
};

// Large memory that nobody has touched yet comes in pages of 2 MiB, where the system has them: on virtual machines a page
// of 4 KiB can take longer to come than to fill. Advice, and no more: what is in memory already stays as it is.
template <class T>
void prefer_large_pages(const T* memory, std::int64_t entries) {
#if defined(__linux__)
    constexpr std::uintptr_t page = std::uintptr_t(1) << 21;
    const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(memory) + page - 1) / page * page;
    const std::uintptr_t end = reinterpret_cast<std::uintptr_t>(memory + entries) / page * page;
    if (memory && end > begin) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

// Scratch memory for as many pieces of work as run at once.
template <class T>
class Scratch {
   public:
    Scratch(std::int64_t slots, std::int64_t entries)
        : slots_(slots), each_((std::size_t(entries) + line - 1) / line * line), busy_(new std::atomic<bool>[slots]),
          memory_(static_cast<T*>(::operator new(std::size_t(slots) * each_ * sizeof(T), std::align_val_t(alignment)))) {
        for (std::int64_t s = 0; s < slots; ++s) busy_[s].store(false);
        prefer_large_pages(memory_.get(), slots * std::int64_t(each_));
    }

    std::int64_t take() {
        for (std::int64_t slot = 0;; slot = (slot + 1) % slots_)
            if (!busy_[slot].exchange(true, std::memory_order_acquire)) return slot;
    }
    void give_back(std::int64_t slot) { busy_[slot].store(false, std::memory_order_release); }
    T* at(std::int64_t slot) const { return memory_.get() + std::size_t(slot) * each_; }

   private:
    static constexpr std::size_t line = alignment / sizeof(T);

    std::int64_t slots_;
    std::size_t each_;
    std::unique_ptr<std::atomic<bool>[]> busy_;
    std::unique_ptr<T, Release> memory_;
};

}  // namespace neuralinv
