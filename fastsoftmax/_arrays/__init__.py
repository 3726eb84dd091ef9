"""Input arrays: validation of `X` and labels, sparse rows, memory-mapped files, numbers of threads."""
