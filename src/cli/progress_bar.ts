import { Writable } from "node:stream";
import cliProgress from "cli-progress";
import type { Output, Progress } from "./output.ts";

/** What is used of cli-progress, which comes without types. */
interface Bar {
  start(total: number, done: number, payload: { text: string }): void;
  setTotal(total: number): void;
  update(done: number, payload: { text: string }): void;
  stop(): void;
}

interface BarClass {
  new (options: Readonly<Record<string, unknown>>): Bar;
}

const UPDATES_PER_SECOND = 10;

/** A bar with a rate once the total is known, and only the words until then. */
export function openBar(output: Output): Progress {
  const { SingleBar }: { SingleBar: BarClass } = cliProgress;
  const stream = Object.assign(
    new Writable({
      write: (chunk: Uint8Array, _encoding, done) => {
        output.write(new TextDecoder().decode(chunk));
        done();
      },
    }),
    { isTTY: true, columns: output.columns, rows: 1, cursorTo: undefined },
  );
  const bar = new SingleBar({
    stream,
    fps: UPDATES_PER_SECOND,
    hideCursor: true,
    clearOnComplete: true,
    linewrap: null,
    format: (
      options: { barsize: number },
      params: { progress: number; total: number },
      { text }: { text: string },
    ) => {
      if (params.total === 0) return text;
      const full = Math.round(params.progress * options.barsize);
      return `${"#".repeat(full)}${"-".repeat(options.barsize - full)} ${text}`;
    },
    barsize: 24,
  });
  let isStarted = false;
  return {
    update: ({ done, total, text }) => {
      if (!isStarted) bar.start(total, done, { text });
      isStarted = true;
      bar.setTotal(total);
      bar.update(done, { text });
    },
    stop: () => {
      if (isStarted) bar.stop();
      isStarted = false;
    },
  };
}
