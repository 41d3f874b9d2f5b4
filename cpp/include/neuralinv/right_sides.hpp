// Right-hand sides of a batch of linear systems in the caller's memory, any strides.
#pragma once

#include <cstdint>

namespace neuralinv {

template <class T>
struct RightSides {
    const T* data;           // entry (i, c) of system b: data[b*batch_stride + i*row_stride + c*column_stride]
    std::int64_t columns;    // right-hand sides for each matrix, at least one
    std::int64_t batch_stride;  // in elements, may be zero or negative, like the two below
    std::int64_t row_stride;
    std::int64_t column_stride;
};

}  // namespace neuralinv
