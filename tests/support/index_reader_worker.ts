/**
 * Reads the index in a loop that never returns to its event loop, as the FUSE worker does.
 *
 * Int32s shared with the test: `STOP` ends the loop, `HOLD` makes it keep its snapshot, `SEEN` is
 * the value of the record last read, `ROUNDS` counts the readings.
 */
import { openIndexReader } from "../../src/store/safe_open.ts";

export const READER = { STOP: 0, HOLD: 1, SEEN: 2, ROUNDS: 3 } as const;
export const READER_KEY = new Uint8Array([7]);

export interface ReaderStart {
  dir: string;
  shared: SharedArrayBuffer;
  control: SharedArrayBuffer;
}

const scope = globalThis as unknown as {
  onmessage?: (event: MessageEvent<ReaderStart>) => void;
  postMessage?: (message: string) => void;
  close(): void;
};

if (import.meta.url.endsWith("?worker")) {
  scope.onmessage = ({ data }) => void readOn(data);
}

async function readOn({ dir, shared, control }: ReaderStart): Promise<void> {
  const state = new Int32Array(control);
  {
    await using index = await openIndexReader({ dir, shared });
    const table = index.table("names");
    while (Atomics.load(state, READER.STOP) === 0) {
      if (Atomics.load(state, READER.HOLD) === 0) index.releaseSnapshot();
      const value = table.get(READER_KEY);
      const seen = value === undefined
        ? -1
        : new DataView(value.buffer, value.byteOffset).getInt32(0);
      Atomics.store(state, READER.SEEN, seen);
      Atomics.add(state, READER.ROUNDS, 1);
      Atomics.notify(state, READER.ROUNDS);
      // The wait for a request; the snapshot must not be held during it.
      if (Atomics.load(state, READER.HOLD) === 0) index.releaseSnapshot();
      Atomics.wait(state, READER.STOP, 0, 1);
    }
  }
  scope.postMessage?.("done");
  scope.close();
}
