// Whose threads the kernels run on.
#pragma once

#include <string>

namespace neuralinv {

// Use the threads of the OpenMP runtime in this file from now on. False: it is not loaded, or not one that takes GCC's calls.
bool borrow_threads(const std::string& runtime);

// Whether those are in use.
bool borrows_threads();

// How many processors this process may use; where the system does not say, more than anybody could ask for.
int usable_processors();

}  // namespace neuralinv
