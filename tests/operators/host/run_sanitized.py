"""Carries out recorded launches with a sanitized host build; run with libasan preloaded. Standard library only.

Usage: run_sanitized.py LIBRARY JOBS.json. Every buffer is its own allocation of exactly its size.
"""

import ctypes
import json
import sys

C = ctypes.CDLL(None)
C.malloc.restype = ctypes.c_void_p
C.malloc.argtypes = [ctypes.c_size_t]


def value(argument: dict) -> ctypes._SimpleCData:
    kind, content = argument["kind"], argument["value"]
    if kind != "buffer":
        return getattr(ctypes, kind)(content)
    data = bytes.fromhex(content)
    address = C.malloc(len(data))
    ctypes.memmove(address, data, len(data))
    return ctypes.c_void_p(address)


library = ctypes.CDLL(sys.argv[1])
with open(sys.argv[2]) as handle:
    jobs = json.load(handle)
for job in jobs:
    entry = getattr(library, "launch_" + job["kernel"])
    entry.restype = ctypes.c_char_p
    values = [value(argument) for argument in job["arguments"]]
    addresses = (ctypes.c_void_p * len(values))(*(ctypes.addressof(entry) for entry in values))
    x, y = job["threads"]
    count, shared = ctypes.c_int64(job["blocks"]), ctypes.c_int64(job["shared_bytes"])
    problem = entry(addresses, ctypes.c_int64(0), count, x, y, shared, 0, ctypes.c_uint32(1))
    if problem:
        sys.exit(problem.decode())
