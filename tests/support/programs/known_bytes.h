/* What tests/campaigns/known_bytes.ts says, in C; that file tells why. Versions are bits of a mask:
 * bit v is version v, 1 to 63. */

#include <stdint.h>
#include <stddef.h>
#include <string.h>

#define KNOWN_VERSIONS 63
#define KNOWN_ALL_VERSIONS (~(uint64_t)1)
#define KNOWN_BLOCK_BYTES 65536

static inline uint32_t known_mix(uint32_t value) {
  value = (value ^ (value >> 16)) * 0x85ebca6bu;
  value = (value ^ (value >> 13)) * 0xc2b2ae35u;
  return value ^ (value >> 16);
}

static inline uint32_t known_path_hash(const char *path) {
  uint32_t hash = 0x811c9dc5u;
  for (; *path; path++) hash = (hash ^ (uint8_t)*path) * 0x01000193u;
  return known_mix(hash);
}

static inline uint64_t known_size(uint32_t key, unsigned version) {
  return 200000 + key % 2097152 + (version % 5) * 4321;
}

static inline unsigned known_written_by(unsigned version, uint64_t block) {
  while (version > 1 && version % 5 != 0 && version % 3 != block % 3) version--;
  return version;
}

static inline uint32_t known_word(uint32_t key, uint64_t at, unsigned writer) {
  return known_mix(key ^ (uint32_t)(at >> 2) * 0x9e3779b9u) ^ writer * 0x85ebca6bu;
}

static inline uint8_t known_byte(uint32_t key, uint64_t at, unsigned writer) {
  return (uint8_t)(known_word(key, at, writer) >> (8 * (at & 3)));
}

/* Bytes from `bytes` on, of at most `length` within one block, that `writer` wrote. */
static inline size_t known_run(uint32_t key, uint64_t offset, const uint8_t *bytes, size_t length,
                               unsigned writer) {
  size_t at = 0;
  while (at < length && (offset + at) % 4 && bytes[at] == known_byte(key, offset + at, writer)) at++;
  if ((offset + at) % 4 == 0) {
    uint32_t word;
    for (; at + 4 <= length; at += 4) {
      memcpy(&word, bytes + at, 4); /* Little-endian machines only. */
      if (word != known_word(key, offset + at, writer)) break;
    }
  }
  while (at < length && bytes[at] == known_byte(key, offset + at, writer)) at++;
  return at;
}

/* The versions that have these bytes at `offset`, of those in `versions`; 0 if none has. Where the
 * last of them stopped to fit is put into `wrong_at`. */
static inline uint64_t known_versions(uint32_t key, uint64_t offset, const uint8_t *bytes,
                                      size_t length, uint64_t versions, uint64_t *wrong_at) {
  for (size_t at = 0; at < length;) {
    uint64_t block = (offset + at) / KNOWN_BLOCK_BYTES, tried = 0, right = 0;
    size_t left = (size_t)((block + 1) * KNOWN_BLOCK_BYTES - (offset + at)), longest = 0;
    if (left > length - at) left = length - at;
    for (unsigned version = 1; version <= KNOWN_VERSIONS; version++) {
      if (!(versions >> version & 1)) continue;
      unsigned writer = known_written_by(version, block);
      if (!(tried >> writer & 1)) {
        size_t run = known_run(key, offset + at, bytes + at, left, writer);
        if (run == left) right |= (uint64_t)1 << writer;
        if (run > longest) longest = run;
        tried |= (uint64_t)1 << writer;
      }
      if (!(right >> writer & 1)) versions &= ~((uint64_t)1 << version);
    }
    if (versions == 0) {
      *wrong_at = offset + at + longest;
      return 0;
    }
    at += left;
  }
  return versions;
}

/* The versions that are `size` bytes long. */
static inline uint64_t known_of_size(uint32_t key, uint64_t size) {
  uint64_t versions = 0;
  for (unsigned version = 1; version <= KNOWN_VERSIONS; version++)
    if (known_size(key, version) == size) versions |= (uint64_t)1 << version;
  return versions;
}

/* The versions longer than `offset`. */
static inline uint64_t known_reaching(uint32_t key, uint64_t end) {
  uint64_t versions = 0;
  for (unsigned version = 1; version <= KNOWN_VERSIONS; version++)
    if (known_size(key, version) >= end) versions |= (uint64_t)1 << version;
  return versions;
}
