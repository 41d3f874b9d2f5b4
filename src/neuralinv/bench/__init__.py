"""Speed and accuracy of the exact functions beside other libraries, and the sizes from which a library is faster."""
