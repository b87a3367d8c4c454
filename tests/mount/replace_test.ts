import assert from "node:assert/strict";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { MusicfsError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { libc, O_RDONLY, openFile, statDescriptor } from "../../src/base/posix.ts";
import { type ControlHandler, serveControl } from "../../src/mount/control.ts";
import { registerDaemon } from "../../src/mount/registry.ts";
import { handoverCommands, type ReplaceOptions, takeFromLive } from "../../src/mount/replace.ts";
import { tempDir } from "../support/temp_dir.ts";
import { commandsOf } from "./fake_commands.ts";

const F_GETFD = 1;
const FD_CLOEXEC = 1;
const MOUNTPOINT = "/mnt/music";

/** A daemon that serves `MOUNTPOINT` with a file in the place of /dev/fuse. */
class OldDaemon implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  /** What it was asked for, and what the new side did, in order. */
  readonly steps: string[] = [];
  /** Descriptors that were kept. */
  readonly kept: number[] = [];
  readonly file: string;

  private constructor(readonly dir: string, readonly cacheDir: string) {
    this.file = join(dir, "device");
  }

  static async start(
    dir: string,
    { streams, cacheDir = join(dir, "cache") }: {
      /** Control commands beside those of every daemon. */
      streams: (device: number, daemon: OldDaemon) => Record<string, ControlHandler>;
      cacheDir?: string;
    },
  ): Promise<OldDaemon> {
    const daemon = new OldDaemon(dir, cacheDir);
    await Deno.mkdir(cacheDir, { recursive: true });
    await Deno.writeTextFile(daemon.file, "");
    const device = openFile(daemon.file, O_RDONLY);
    daemon.#stack.defer(() => void libc.close(device));
    const info = { pid: Deno.pid, cache_dir: cacheDir, mountpoint: MOUNTPOINT };
    daemon.#stack.use(registerDaemon(info, daemon.place));
    daemon.#stack.use(
      await serveControl({
        path: join(cacheDir, "control.sock"),
        commands: commandsOf({}),
        streams: streams(device, daemon),
        log: silentLog,
      }),
    );
    return daemon;
  }

  get place(): ReplaceOptions["place"] {
    return { uid: Deno.uid() ?? 0, runtimeDir: join(this.dir, "run") };
  }

  /** `--replace` by this process. */
  take(cacheDir = this.cacheDir, clock = systemClock): Promise<number | undefined> {
    return takeFromLive({
      mountpoint: MOUNTPOINT,
      cacheDir,
      place: this.place,
      clock,
      keep: (descriptor) => {
        this.steps.push("kept");
        this.kept.push(descriptor);
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** What a daemon of this version offers. */
function offered(device: number, daemon: OldDaemon): Record<string, ControlHandler> {
  const leave = (): void => void daemon.steps.push("left");
  return handoverCommands({ descriptor: device, canResend: true, leave });
}

async function isSameFile(descriptor: number, path: string): Promise<boolean> {
  const status = statDescriptor(descriptor);
  return typeof status === "object" && Number(status.ino) === (await Deno.stat(path)).ino;
}

for (const name of ["cache", `a folder with a long name ${"x".repeat(120)}`]) {
  Deno.test(`takeFromLive() keeps the descriptor, and only then has the other leave: ${name.slice(0, 8)}`, async () => {
    await using dir = await tempDir("replace");
    const cacheDir = join(dir.path, name);
    await using daemon = await OldDaemon.start(dir.path, { streams: offered, cacheDir });
    const descriptor = await daemon.take();
    assert(descriptor !== undefined);
    assert(await isSameFile(descriptor, daemon.file));
    assert.equal(libc.fcntl(descriptor, F_GETFD, 0n), FD_CLOEXEC);
    libc.close(descriptor);
    assert.deepEqual(daemon.steps, ["kept", "left"]);
    const left = await Array.fromAsync(Deno.readDir(cacheDir), (entry) => entry.name);
    assert.deepEqual(left, ["control.sock"], "the socket was for once");
  });
}

Deno.test("takeFromLive() finds nobody where no daemon lives", async () => {
  await using dir = await tempDir("replace");
  const place = { uid: Deno.uid() ?? 0, runtimeDir: dir.path };
  const keep = (): void => assert.fail("there is nothing to keep");
  const options = { mountpoint: MOUNTPOINT, cacheDir: dir.path, place, clock: systemClock, keep };
  assert.equal(await takeFromLive(options), undefined);
});

Deno.test("takeFromLive() leaves a daemon with another cache alone", async () => {
  await using dir = await tempDir("replace");
  await using daemon = await OldDaemon.start(dir.path, { streams: offered });
  await assert.rejects(daemon.take(dir.path), (error: unknown) => {
    assert(error instanceof MusicfsError);
    assert.match(error.message, /has its cache in .*\/cache, not in .*; name it with --cache-dir$/);
    return true;
  });
  assert.deepEqual(daemon.steps, []);
});

Deno.test("takeFromLive() says what to do about a daemon that cannot hand over", async () => {
  await using dir = await tempDir("replace");
  const refused = async (streams: Parameters<typeof OldDaemon.start>[1]["streams"]) => {
    await using daemon = await OldDaemon.start(dir.path, { streams });
    await assert.rejects(daemon.take(), (error: unknown) => {
      assert(error instanceof MusicfsError);
      assert.match(error.message, /musicfs unmount/);
      return true;
    });
    assert.deepEqual(daemon.steps, []);
  };
  await refused(() => ({})); // An earlier version.
  await refused((descriptor) =>
    handoverCommands({ descriptor, canResend: false, leave: () => assert.fail("it serves on") })
  );
});

Deno.test("handoverCommands() leaves for nobody who has not got the descriptor", async () => {
  const leave = (): void => assert.fail("it serves on");
  const commands = handoverCommands({ descriptor: 0, canResend: true, leave });
  const call = {
    progress: () => {},
    sent: () => Promise.resolve(),
    gone: new AbortController().signal,
  };
  await assert.rejects(async () => await commands.leave({}, call), MusicfsError);
  await using dir = await tempDir("replace");
  const nobody = { socket: join(dir.path, "nobody.sock") };
  await assert.rejects(async () => await commands.handover(nobody, call), MusicfsError);
  await assert.rejects(async () => await commands.leave({}, call), MusicfsError);
});

Deno.test("takeFromLive() goes on with the descriptor where the daemon died before it left", async () => {
  await using dir = await tempDir("replace");
  // Once the daemon is dead, a second passes whenever the time is asked for.
  let deadS: number | undefined;
  const monotonic = (): number => systemClock.monotonic() + 1_000 * (deadS ? deadS++ : 0);
  await using daemon = await OldDaemon.start(dir.path, {
    streams: (device, daemon) => ({
      ...offered(device, daemon),
      leave: () => {
        deadS = 1;
        // As its death does: the connection ends without an answer.
        queueMicrotask(() => daemon[Symbol.asyncDispose]());
        return new Promise(() => {});
      },
    }),
  });
  const descriptor = await daemon.take(daemon.cacheDir, { ...systemClock, monotonic });
  assert(descriptor !== undefined);
  assert(await isSameFile(descriptor, daemon.file));
  libc.close(descriptor);
});
