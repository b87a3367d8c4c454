import assert from "node:assert/strict";
import type { EntryEvent } from "../../src/library/library.ts";
import { type HookFailure, runHookCommand } from "../../src/mount/hook_command.ts";
import { eventually } from "../support/process.ts";
import { tempDir } from "../support/temp_dir.ts";
import { hookCall } from "./hook_rig.ts";

const EVENTS: EntryEvent[] = [
  { kind: "added", path: "A/B/one.flac" },
  { kind: "changed", path: "A/B/line\nbreak.flac" },
  { kind: "moved", path: "A/new", from: "A/old" },
  { kind: "gone", path: "A/C/gone" },
];

function shell(
  script: string,
  call: Parameters<typeof hookCall>[1] & { events?: EntryEvent[] } = {},
): Promise<HookFailure | undefined> {
  const { events = EVENTS, ...some } = call;
  return runHookCommand(["/bin/sh", "-c", script], hookCall(events, some));
}

Deno.test("runHookCommand() tells changes on stdin and counts in the environment", async () => {
  await using dir = await tempDir("hook");
  const environment = {
    PATH: "/usr/bin:/bin",
    OF_THE_USER: "kept",
    AWS_SECRET_ACCESS_KEY: "hidden",
    MUSICFS_SFTP_PASSWORD: "hidden",
    NOTIFY_SOCKET: "/run/hidden",
  };
  assert.equal(
    await shell(`cat >${dir.path}/stdin; env >${dir.path}/env; pwd >${dir.path}/pwd`, {
      environment,
    }),
    undefined,
  );
  const lines = (await Deno.readTextFile(`${dir.path}/stdin`)).trim().split("\n");
  assert.deepEqual(lines.map((line) => JSON.parse(line)), [
    { kind: "added", path: "A/B/one.flac" },
    { kind: "changed", path: "A/B/line\nbreak.flac" },
    { kind: "moved", path: "A/new", from: "A/old" },
    { kind: "removed", path: "A/C/gone" },
  ]);
  const env = await Deno.readTextFile(`${dir.path}/env`);
  for (
    const line of [
      "MUSICFS_MOUNTPOINT=/mnt/music",
      "MUSICFS_ADDED=1",
      "MUSICFS_CHANGED=1",
      "MUSICFS_MOVED=1",
      "MUSICFS_REMOVED=1",
      "MUSICFS_TRUNCATED=0",
      "MUSICFS_FOLDER=A",
      "OF_THE_USER=kept",
    ]
  ) assert(env.split("\n").includes(line), `${line} in ${env}`);
  assert.doesNotMatch(env, /hidden/);
  assert.equal(await Deno.readTextFile(`${dir.path}/pwd`), "/\n");
});

Deno.test("runHookCommand() hands arguments to no shell", async () => {
  await using dir = await tempDir("hook");
  const words = ["$HOME", "a b", "`id`", "; touch x", "*", ""];
  const script = `printf '%s\\n' "$@" >${dir.path}/words`;
  await runHookCommand(["/bin/sh", "-c", script, "sh", ...words], hookCall(EVENTS));
  assert.equal(
    await Deno.readTextFile(`${dir.path}/words`),
    words.map((word) => `${word}\n`).join(""),
  );
});

Deno.test("runHookCommand() tells folders where there is too much to tell", async () => {
  await using dir = await tempDir("hook");
  const events = Array.from({ length: 10_001 }, (_, i): EntryEvent => ({
    kind: "added",
    path: `A/B${i % 2}/${i}`,
  }));
  await shell(`cat >${dir.path}/stdin; echo $MUSICFS_TRUNCATED $MUSICFS_ADDED >${dir.path}/env`, {
    events,
  });
  assert.equal(
    await Deno.readTextFile(`${dir.path}/stdin`),
    '{"kind":"folder","path":"A/B0"}\n{"kind":"folder","path":"A/B1"}\n',
  );
  assert.equal(await Deno.readTextFile(`${dir.path}/env`), "1 10001\n");
});

Deno.test("runHookCommand() needs nobody to read what it tells", async () => {
  const long = "x".repeat(2_000);
  const events = Array.from({ length: 900 }, (_, i): EntryEvent => ({
    kind: "added",
    path: `${i}${long}`,
  }));
  assert.equal(await shell("exit 0", { events }), undefined);
  assert.equal(await shell("exec <&-; sleep 0.2", { events }), undefined);
});

Deno.test("runHookCommand() says how a program failed, with the last lines it wrote", async () => {
  assert.deepEqual(
    await shell("for i in $(seq 2000); do echo line $i >&2; done; echo; exit 3"),
    {
      error: "exit code 3",
      stderr: [1996, 1997, 1998, 1999, 2000].map((i) => `line ${i}`).join(" | "),
    },
  );
  assert.deepEqual(await shell("kill -9 $$"), { error: "ended by SIGKILL" });
  const missing = await runHookCommand(["no-such-program"], hookCall(EVENTS));
  assert.equal(missing?.error, "exit code 127");
  assert.match(missing?.stderr ?? "", /no-such-program.*not found/);
});

Deno.test("runHookCommand() ends a late program with all that it started", async () => {
  await using dir = await tempDir("hook");
  const script = `trap '' TERM; sh -c 'trap "" TERM; sleep 1000; :' & echo $$ $! >${dir.path}/pids
    sleep 1000; sleep 1000`;
  assert.deepEqual(await shell(script, { timeoutMs: 300 }), { error: "no end within 300 ms" });
  await allGone(`${dir.path}/pids`);
});

Deno.test("runHookCommand() leaves nothing of its group behind when a program ends", async () => {
  await using dir = await tempDir("hook");
  const script = `sleep 1000 & echo $! >${dir.path}/pids`;
  assert.equal(await shell(script), undefined);
  await allGone(`${dir.path}/pids`);
});

Deno.test("runHookCommand() waits for nobody who left the group with a stream open", async () => {
  await using dir = await tempDir("hook");
  const script = `setsid sh -c 'echo $$ >${dir.path}/pids; exec sleep 1000' & 
    while [ ! -s ${dir.path}/pids ]; do sleep 0.01; done; echo bad >&2; exit 1`;
  assert.deepEqual(await shell(script), { error: "exit code 1", stderr: "bad" });
  Deno.kill(Number(await Deno.readTextFile(`${dir.path}/pids`)), "SIGKILL");
});

Deno.test("runHookCommand() ends its program with the daemon", async () => {
  await using dir = await tempDir("hook");
  const stop = new AbortController();
  const running = shell(`sleep 1000 & echo $$ $! >${dir.path}/pids; wait`, { signal: stop.signal });
  const ended = assert.rejects(running, /stopping/);
  await eventually(() => exists(`${dir.path}/pids`), { ms: 20_000, what: "the program's start" });
  stop.abort(new Error("stopping"));
  await ended;
  await allGone(`${dir.path}/pids`);
});

/** Waits until no process of the file's numbers is left, but zombies that nobody has looked after. */
async function allGone(file: string): Promise<void> {
  const pids = (await Deno.readTextFile(file)).trim().split(/\s+/);
  assert(pids.length > 0);
  for (const pid of pids) {
    await eventually(async () => {
      try {
        return /^State:\s*Z/m.test(await Deno.readTextFile(`/proc/${pid}/status`));
      } catch (error) {
        if (error instanceof Deno.errors.NotFound) return true;
        // It ended between open and read.
        if (error instanceof Error && "code" in error && error.code === "ESRCH") return true;
        throw error;
      }
    }, { ms: 10_000, what: `the end of ${pid}` });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).size > 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
