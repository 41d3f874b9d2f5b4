#include "neuralinv/result_memory.hpp"

#include <cstdlib>
#include <mutex>
#include <new>
#include <vector>

namespace neuralinv {

namespace {

// In bytes. Large pages are for what would leave little of the last one unused.
constexpr std::int64_t line = 64, page = 4096, large_page = std::int64_t(1) << 21, smallest_huge = 8 * large_page;

struct Piece {
    void* data;
    std::int64_t room;
};

struct Spare {
    std::mutex mutex;
    std::vector<Piece> pieces;
    std::int64_t bytes = 0;
};

// Never destroyed: results may outlive everything else.
Spare& spare() {
    static Spare* const all = new Spare;
    return *all;
}

// In bytes. NEURALINV_SPARE_MEMORY gives it in MiB; what cannot be read keeps nothing.
std::int64_t most_kept() {
    static const std::int64_t most = [] {
        const char* const wanted = std::getenv("NEURALINV_SPARE_MEMORY");
        const std::int64_t mebibytes = wanted == nullptr ? 256 : std::strtoll(wanted, nullptr, 10);
        return (mebibytes < 0 ? 0 : mebibytes > (1 << 20) ? 1 << 20 : mebibytes) << 20;
    }();
    return most;
}

// A piece that fits, with a quarter to spare at most. Where none does, others stay, so that results of several sizes take turns,
// unless the new one makes them more than may be kept: nobody shall run out of memory for them.
Piece take(std::int64_t room) {
    Spare& kept = spare();
    const std::lock_guard<std::mutex> lock(kept.mutex);
    for (std::size_t i = kept.pieces.size(); i-- > 0;) {
        const Piece piece = kept.pieces[i];
        if (piece.room < room || piece.room > room + room / 4) continue;
        kept.pieces.erase(kept.pieces.begin() + std::ptrdiff_t(i));
        kept.bytes -= piece.room;
        return piece;
    }
    if (kept.bytes + room > most_kept()) {
        for (const Piece& piece : kept.pieces) std::free(piece.data);
        kept.pieces.clear();
        kept.bytes = 0;
    }
    return {nullptr, 0};
}

}  // namespace

ResultMemory::ResultMemory(std::int64_t bytes) : bytes_(bytes) {
    const bool huge = bytes >= smallest_huge;
    const std::int64_t unit = huge ? large_page : page, room = (bytes + unit - 1) / unit * unit;
    Piece piece = take(room);
    if (piece.data == nullptr) {
        piece.room = room;
        if (posix_memalign(&piece.data, std::size_t(huge ? large_page : line), std::size_t(room)) != 0) throw std::bad_alloc();
    }
    data_ = piece.data;
    room_ = piece.room;
}

ResultMemory::~ResultMemory() {
    Spare& kept = spare();
    {
        const std::lock_guard<std::mutex> lock(kept.mutex);
        if (room_ <= most_kept()) {
            while (kept.bytes + room_ > most_kept()) {  // the oldest makes room
                std::free(kept.pieces.front().data);
                kept.bytes -= kept.pieces.front().room;
                kept.pieces.erase(kept.pieces.begin());
            }
            kept.pieces.push_back({data_, room_});
            kept.bytes += room_;
            return;
        }
    }
    std::free(data_);
}

std::int64_t spare_memory() {
    Spare& kept = spare();
    const std::lock_guard<std::mutex> lock(kept.mutex);
    return kept.bytes;
}

}  // namespace neuralinv
