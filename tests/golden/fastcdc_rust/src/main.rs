//! Prints the cut points of the `fastcdc` crate's v2020, one JSON object a line; see ../README.md.
//!
//! The inputs are made here and again in tests/chunking/golden_inputs.ts, from the same rules.

use fastcdc::v2020::FastCDC;

/// min, average, max: the sizes musicfs uses, and a second set that shows nothing is fixed to it.
const SIZES: [(usize, usize, usize); 2] = [(16_384, 65_536, 262_144), (2_048, 8_192, 32_768)];

const KINDS: [&str; 5] = ["zeros", "ones", "text", "random", "mixed"];

const LENGTHS: [usize; 28] = [
    0, 1, 2, 3, 16_383, 16_384, 16_385, 16_386, 65_535, 65_536, 65_537, 65_538, 131_071, 131_072,
    131_073, 262_143, 262_144, 262_145, 262_146, 278_527, 278_528, 278_529, 524_287, 524_288,
    524_289, 1_000_003, 3_000_001, 8_388_608,
];

const WORDS: [&str; 16] = [
    "allegro", "adagio", "andante", "presto", "largo", "vivace", "moderato", "scherzo", "rondo",
    "fugue", "prelude", "sonata", "etude", "nocturne", "waltz", "minuet",
];

/// mulberry32: a state of 32 bits, 32 bits a step.
struct Mulberry(u32);

impl Mulberry {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x6d2b_79f5);
        let mut t = self.0;
        t = (t ^ (t >> 15)).wrapping_mul(t | 1);
        t ^= t.wrapping_add((t ^ (t >> 7)).wrapping_mul(t | 61));
        t ^ (t >> 14)
    }
}

/// Each step gives four bytes, the least significant first.
fn random(seed: u32, length: usize) -> Vec<u8> {
    let mut random = Mulberry(seed);
    let mut bytes = Vec::with_capacity(length + 4);
    while bytes.len() < length {
        bytes.extend_from_slice(&random.next().to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Words picked by the top four bits of a step, each followed by a space.
fn text(seed: u32, length: usize) -> Vec<u8> {
    let mut random = Mulberry(seed);
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        bytes.extend_from_slice(WORDS[(random.next() >> 28) as usize].as_bytes());
        bytes.push(b' ');
    }
    bytes.truncate(length);
    bytes
}

/// Blocks of 100,003 bytes: random, zeros, text, random (the same again), and so on.
fn mixed(seed: u32, length: usize) -> Vec<u8> {
    let block = 100_003;
    let parts = [random(seed, block), vec![0; block], text(seed, block)];
    let mut bytes = Vec::with_capacity(length + block);
    let mut turn = 0;
    while bytes.len() < length {
        bytes.extend_from_slice(&parts[turn % 3]);
        turn += 1;
    }
    bytes.truncate(length);
    bytes
}

fn input(kind: &str, length: usize) -> Vec<u8> {
    match kind {
        "zeros" => vec![0; length],
        "ones" => vec![0xff; length],
        "text" => text(length as u32 + 1, length),
        "random" => random(length as u32 + 1, length),
        "mixed" => mixed(length as u32 + 1, length),
        _ => unreachable!(),
    }
}

fn main() {
    let mut rows = Vec::new();
    for (min, avg, max) in SIZES {
        for kind in KINDS {
            for length in LENGTHS {
                let bytes = input(kind, length);
                let mut end = 0;
                let mut lengths = Vec::new();
                for chunk in FastCDC::new(&bytes, min, avg, max) {
                    assert_eq!(chunk.offset, end, "chunks follow one another");
                    end += chunk.length;
                    lengths.push(chunk.length.to_string());
                }
                assert_eq!(end, length, "chunks cover the input");
                rows.push(format!(
                    "{{\"kind\":\"{kind}\",\"bytes\":{length},\"sizes\":[{min},{avg},{max}],\"lengths\":[{}]}}",
                    lengths.join(",")
                ));
            }
        }
    }
    println!("{}", rows.join("\n"));
}
