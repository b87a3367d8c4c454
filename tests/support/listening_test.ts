import assert from "node:assert/strict";
import { join } from "node:path";
import { MUSIC_BYTES_PER_SECOND, play, tagScan } from "./listening.ts";
import { testWith } from "./requirements.ts";
import { writeNoise } from "./sample_library.ts";
import { tempDir } from "./temp_dir.ts";

testWith(["gcc"], "tagScan() reads every file, and counts those it cannot", async () => {
  await using dir = await tempDir();
  await writeNoise(join(dir.path, "a/1"), { bytes: 300_000, seed: 1 });
  await writeNoise(join(dir.path, "b/2"), { bytes: 10, seed: 2 });
  const { files, errors } = await tagScan(dir.path);
  assert.deepEqual({ files, errors }, { files: 2, errors: 0 });
});

testWith(["gcc"], "play() hears a whole file without a stall, and one that differs", async () => {
  await using dir = await tempDir();
  const [file, other] = [join(dir.path, "a"), join(dir.path, "b")];
  await writeNoise(file, { bytes: 300_000, seed: 1 });
  await writeNoise(other, { bytes: 300_000, seed: 2 });
  const options = { bytesPerSecond: MUSIC_BYTES_PER_SECOND, bufferSeconds: 0.1 };
  await using same = await play(file, { ...options, copy: file });
  await same.playing;
  const { stalls, playedBytes, differs } = await same.ended;
  assert.deepEqual({ stalls, playedBytes, differs }, {
    stalls: 0,
    playedBytes: 300_000,
    differs: false,
  });
  await using unlike = await play(file, { ...options, copy: other });
  assert.equal((await unlike.ended).differs, true);
});
