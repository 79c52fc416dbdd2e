"""Error measures exactly as the benchmarks define them. Knows no network and no data set's files."""
