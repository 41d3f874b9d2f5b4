// A batch of square matrices in the caller's memory, any strides: transposed and strided inputs need no copy.
#pragma once

#include <cstdint>

namespace neuralinv {

template <class T>
struct MatrixBatch {
    const T* data;               // entry (i, j) of matrix b: data[b*batch_stride + i*row_stride + j*column_stride]
    std::int64_t count;          // number of matrices
    std::int64_t n;              // rows = columns
    std::int64_t batch_stride;   // in elements, may be zero or negative, like the two below
    std::int64_t row_stride;
    std::int64_t column_stride;
};

// What became of a batch: the first matrix that failed and why, or index -1.
struct FirstFailure {
    std::int64_t index;
    std::int32_t status;
};

}  // namespace neuralinv
