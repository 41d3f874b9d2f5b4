"""Block-tridiagonal systems beside the Python loop and other libraries: goals, errors, time against T and n."""
