"""Prints digests of the reference implementation of xxHash as JSON lines; see README.md."""

import json

import xxhash  # 4.1.0 holds XXH 0.8.4

LENGTHS = [0, 1, 3, 4, 8, 9, 16, 17, 31, 32, 33, 64, 65, 96, 97, 128, 129, 160, 240, 241, 256, 512,
           1023, 1024, 1025, 4096, 16384, 65536, 65537, 262144]

for length in LENGTHS:
    data = bytes((i * 2654435761 >> 13) & 255 for i in range(length))
    print(json.dumps({
        "bytes": length,
        "xxh64": xxhash.xxh64_hexdigest(data),
        "xxh128": xxhash.xxh128_hexdigest(data),
    }))
