/** Real files, edited by real taggers: the audio chunks stay. */

import fc from "fast-check";
import assert from "node:assert/strict";
import { layoutOf } from "../../src/chunking/audio_layout.ts";
import { CdcChunker } from "../../src/chunking/cdc_chunker.ts";
import { type ChunkHash, openChunkHash } from "../../src/chunking/chunk_hash.ts";
import type { ChunkRegion } from "../../src/chunking/chunk_manifest.ts";
import { cutFile } from "../../src/chunking/cut_file.ts";
import { output } from "../support/process.ts";
import { type Need, testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertTiled } from "./audio_files.ts";

const chunker = new CdcChunker();
const hash: ChunkHash = await openChunkHash("xxh128");

/** A file as it is made, and edits one after another. Lines of bash; `$f` is the file. */
interface Case {
  name: string;
  needs: readonly Need[];
  /** Makes `$f` from `$wav`, 8 s of noise in 48 kHz stereo. */
  make: string;
  edits: Readonly<Record<string, string>>;
}

/** Edits `f`, mutagen's view of the file; `text` has 70,000 letters. */
function mutagen(...lines: string[]): string {
  const program = [
    "import sys, mutagen, mutagen.apev2, mutagen.flac, mutagen.id3, mutagen.mp4",
    "text = 'tag and ' * 8750",
    "f = mutagen.File(sys.argv[1])",
    ...lines,
  ];
  return `/usr/bin/python3 -c "${program.join("\n")}" "$f"`;
}

/** Writes the file anew with ffmpeg, its streams as they are. */
function remux(options: string): string {
  return `ffmpeg -v error -i "$f" -c copy ${options} "$dir/new.$ext" && mv "$dir/new.$ext" "$f"`;
}

const LONG = `"$(head -c 60000 /dev/zero | tr '\\0' 'y')"`;
const ID3 = "f.tags.add(mutagen.id3.TXXX(encoding=3, desc='long', text=[text]))";

const CASES: readonly Case[] = [
  {
    name: "a.flac",
    needs: ["flac", "metaflac", "ffmpeg", "mutagen"],
    make: `flac -s -o "$f" "$wav"`,
    edits: {
      "metaflac within the padding": `metaflac --set-tag=TITLE=Salt "$f"`,
      "metaflac beyond the padding": `metaflac --set-tag=COMMENT=${LONG} "$f"`,
      "a picture and no padding": mutagen(
        "p = mutagen.flac.Picture()",
        "p.data = text.encode() * 10",
        "f.add_picture(p)",
        "f.save(padding=lambda info: 0)",
      ),
      "ID3v2 before it": mutagen(
        "t = mutagen.id3.ID3()",
        "t.add(mutagen.id3.TXXX(encoding=3, desc='long', text=[text]))",
        "t.save(sys.argv[1])",
      ),
      "ffmpeg": remux("-map 0:a -metadata title=New"),
    },
  },
  {
    name: "a.mp3",
    needs: ["lame", "ffmpeg", "mutagen"],
    make: `lame --quiet -b 256 "$wav" "$f"`,
    edits: {
      "ID3v2": mutagen("f.add_tags()", ID3, "f.save()"),
      "ID3v2 and ID3v1": mutagen(
        "f.tags.add(mutagen.id3.TIT2(encoding=3, text=['Salt']))",
        "f.save(v1=2)",
      ),
      "APEv2": mutagen(
        "t = mutagen.apev2.APEv2()",
        "t['Title'] = 'Salt'",
        "t['Comment'] = text",
        "t.save(sys.argv[1])",
      ),
      "a longer APEv2, no ID3v1": mutagen(
        "t = mutagen.apev2.APEv2(sys.argv[1])",
        "t['Comment'] = text + text",
        "t.save(sys.argv[1])",
        "f.save(v1=0)",
      ),
      "no tags": mutagen("mutagen.apev2.delete(sys.argv[1])", "f.delete()"),
    },
  },
  {
    name: "a.m4a",
    needs: ["ffmpeg", "mutagen"],
    make: `ffmpeg -v error -i "$wav" -c:a aac -b:a 320k "$f"`,
    edits: {
      "moov behind mdat grows": mutagen("f['desc'] = text", "f.save()"),
      "moov before mdat": remux("-movflags +faststart"),
      "moov before mdat grows": mutagen(
        "f['covr'] = [mutagen.mp4.MP4Cover(text.encode() * 5)]",
        "f.save()",
      ),
    },
  },
  {
    name: "a.ogg",
    needs: ["ffmpeg", "mutagen"],
    make: `ffmpeg -v error -i "$wav" -c:a libvorbis -b:a 400k -metadata title=Salt "$f"`,
    edits: {
      "a longer comment on as many pages": mutagen("f['title'] = text[:500]", "f.save()"),
      "a shorter comment on as many pages": mutagen("f['title'] = 'Salt'", "f.save()"),
    },
  },
  {
    name: "a.opus",
    needs: ["ffmpeg", "mutagen"],
    make: `ffmpeg -v error -i "$wav" -c:a libopus -b:a 400k "$f"`,
    edits: {
      "a longer comment on as many pages": mutagen("f['title'] = text[:900]", "f.save()"),
    },
  },
  {
    name: "a.wav",
    needs: ["ffmpeg", "mutagen"],
    make: `cp "$wav" "$f"`,
    edits: {
      "a longer list of facts before the samples": remux(`-metadata comment=${LONG}`),
      "an ID3 chunk behind the samples": mutagen("f.add_tags()", ID3, "f.save()"),
    },
  },
  {
    name: "a.aiff",
    needs: ["ffmpeg", "mutagen"],
    make: `ffmpeg -v error -i "$wav" "$f"`,
    edits: { "an ID3 chunk behind the samples": mutagen("f.add_tags()", ID3, "f.save()") },
  },
  {
    name: "a.wv",
    needs: ["ffmpeg", "mutagen"],
    make: `ffmpeg -v error -i "$wav" "$f"`,
    edits: { "a longer APEv2": mutagen("f['Comment'] = text", "f.save()") },
  },
];

/** The file's regions, and its bytes. */
async function cut(path: string): Promise<{ regions: ChunkRegion[]; bytes: Uint8Array }> {
  const bytes = await Deno.readFile(path);
  const readRange = (offset: number, length: number): Promise<Uint8Array> =>
    Promise.resolve(bytes.subarray(offset, offset + length));
  return { regions: await cutFile(bytes.length, { readRange, chunker, hash }), bytes };
}

/** Damages the file's first bytes in all sorts of ways; what comes of it must still be a layout. */
function assertSafe(bytes: Uint8Array): void {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.oneof(fc.nat(99), fc.nat(9999)), fc.nat(7)), { maxLength: 9 }),
      fc.oneof(fc.constant(bytes.length), fc.nat(200), fc.nat(bytes.length)),
      (flips, size) => {
        const damaged = bytes.slice(0, size);
        for (const [at, bit] of flips) damaged[at] = (damaged[at] ?? 0) ^ (1 << bit);
        const layout = layoutOf(
          size,
          (offset, length) => damaged.subarray(offset, offset + length),
        );
        assert("regions" in layout);
        assertTiled(layout.regions, size);
      },
    ),
    { numRuns: 150 },
  );
}

function audioOf(regions: readonly ChunkRegion[]): string[] {
  return regions.filter(({ kind }) => kind === "audio")
    .flatMap(({ chunks }) => chunks.map((chunk) => chunk.hash.toHex()));
}

for (const { name, needs, make, edits } of CASES) {
  testWith(
    needs,
    `cutFile() finds the audio of ${name} again after its tags are edited`,
    async (t) => {
      await using dir = await tempDir("retag");
      const [f, wav] = [`${dir.path}/${name}`, `${dir.path}/noise.wav`];
      const env = { f, wav, dir: dir.path, ext: name.slice(2) };
      const noise = `ffmpeg -v error -f lavfi -i anoisesrc=d=8:a=0.4:seed=1 -ac 2 "$wav"`;
      await output("bash", ["-ec", `${noise} && ${make}`], { env });
      const first = await cut(f);
      assertSafe(first.bytes);
      const audio = audioOf(first.regions);
      const audioBytes = first.regions.filter(({ kind }) => kind === "audio")
        .flatMap(({ chunks }) => chunks).reduce((sum, { length }) => sum + length, 0);
      assert(audioBytes > 0.9 * (first.bytes.length - 130_000), `${audioBytes} bytes of audio`);
      let before = first.bytes;
      for (const [edit, line] of Object.entries(edits)) {
        await t.step(edit, async () => {
          await output("bash", ["-ec", line], { env });
          const { regions, bytes } = await cut(f);
          assert.notDeepEqual(bytes, before);
          assert.deepEqual(audioOf(regions), audio);
          assert.equal(regions.some(({ kind }) => kind === "whole"), false);
          before = bytes;
        });
      }
    },
  );
}
