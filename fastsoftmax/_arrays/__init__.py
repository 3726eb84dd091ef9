"""Arrays that come in: what `X` and labels may be, sparse rows, memory-mapped files, numbers of threads."""
