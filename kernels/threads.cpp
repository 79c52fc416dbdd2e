#include "threads.h"

// Names the OpenMP runtime for all kernels of this library.
extern "C" __attribute__((visibility("default"))) void flowzoo_use_openmp(Parallel parallel) { openmp_parallel = parallel; }
