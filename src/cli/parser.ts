/** What can be typed. Loaded only when something must be parsed: it takes a third of the start. */

import { merge, object, or } from "@optique/core/constructs";
import { lineBreak, type Message, message, text } from "@optique/core/message";
import { multiple, optional } from "@optique/core/modifiers";
import type { InferValue } from "@optique/core/parser";
import { argument, command, constant, option } from "@optique/core/primitives";
import { choice, string } from "@optique/core/valueparser";
import type { Usage } from "@optique/core/usage";
import { path } from "@optique/run/valueparser";

/** `[OPTION...]`: all of them on one line is more than a person reads. */
const anyOption = {
  type: "multiple",
  terms: [{ type: "argument", metavar: "OPTION" }],
  min: 0,
} as const;
const onlyOptions: Usage = [anyOption];
const mountpointLast: Usage = [anyOption, { type: "argument", metavar: "MOUNTPOINT" }];
const mountpointMaybe: Usage = [
  anyOption,
  { type: "optional", terms: [{ type: "argument", metavar: "MOUNTPOINT" }] },
];

const directory = path({ metavar: "DIR", type: "directory" });
const mountpoint = path({ metavar: "MOUNTPOINT", type: "directory" });
const size = string({ metavar: "SIZE" });
const duration = string({ metavar: "TIME" });

const cacheDir = {
  cache_dir: optional(option("--cache-dir", directory, {
    description: message`Where the cache is. Default: ~/.cache/musicfs.`,
  })),
};

const logged = {
  config: optional(option("--config", path({ metavar: "FILE", type: "file" }), {
    description: message`Configuration to use instead of ~/.config/musicfs/config.toml.`,
  })),
  log_level: optional(option("--log-level", choice(["debug", "info", "warning", "error"]), {
    description: message`What is logged. Default: info for a mount, error for other commands.`,
  })),
  log_format: optional(option("--log-format", choice(["auto", "text", "json", "journald"]), {
    description: message`How it is logged. Default: auto, which finds the journal.`,
  })),
};

const configured = { ...cacheDir, ...logged };

const excluding = {
  exclude: optional(multiple(
    option("--exclude", string({ metavar: "NAME" }), {
      description: message`Leave out files and folders of this name; again for more.`,
    }),
    { min: 1 },
  )),
};

const chunkHash = {
  hash: optional(option("--hash", choice(["xxh128", "xxh64"]), {
    description: message`How chunks are named. Default: xxh128.`,
  })),
};

const origins = {
  origins: multiple(option("--origin", path({ metavar: "URL" }), {
    description: message`A path, file://, s3:// or sftp:// URL; again for more, preferred first.`,
  })),
  ...excluding,
};

const bandwidth = {
  bwlimit: optional(option("--bwlimit", string({ metavar: "RATE" }), {
    description: message`Most that is read from all origins: 10M is 10 MiB a second. Default: off.`,
  })),
};

const json = {
  json: option("--json", { description: message`Print JSON.` }),
};

const caching = {
  max_size: optional(option("--max-size", size, {
    description: message`Most the cache may take: 20G is 20 GiB, 20GB is 10^9 bytes each.`,
  })),
  cache: optional(option("--cache", choice(["on", "off", "auto"]), {
    description: message`What is cached; auto: all but a local disk's. Default: auto.`,
  })),
  no_passthrough: optional(option("--no-passthrough", {
    description: message`The same as --cache on.`,
  })),
  ...chunkHash,
  read_timeout: optional(option("--read-timeout", duration, {
    description: message`How long a read keeps trying before EIO. Default: 30s.`,
  })),
  poll_interval: optional(option("--poll-interval", duration, {
    description: message`How often origins are looked at for changes. Default: 5m.`,
  })),
  no_watch: optional(option("--no-watch", {
    description: message`Only look every poll interval, also at local folders.`,
  })),
  no_trust_audio_md5: optional(option("--no-trust-audio-md5", {
    description: message`Fetch a retagged FLAC file's audio again, too.`,
  })),
};

const measured = {
  metrics: optional(option("--metrics", string({ metavar: "ADDRESS" }), {
    description: message`Serve figures for Prometheus: 127.0.0.1:9300 or unix:/path. Default: off.`,
  })),
};

const shown = {
  umask: optional(option("--umask", string({ metavar: "MASK" }), {
    description: message`Permissions to take away, in octal. Default: 0.`,
  })),
  uid: optional(option("--uid", string({ metavar: "ID" }), {
    description: message`Owner of all files. Default: who mounts.`,
  })),
  gid: optional(option("--gid", string({ metavar: "ID" }), {
    description: message`Group of all files. Default: that of who mounts.`,
  })),
  allow_other: optional(option("--allow-other", {
    description: message`Let other users in.`,
  })),
};

const successor = {
  replace: option("--replace", {
    description: message`Take the mount over from the daemon that serves it; readers go on.`,
  }),
  noSupervise: option("--no-supervise", {
    description: message`Do without the parent that starts another daemon when one dies.`,
  }),
};

const mount = command(
  "mount",
  merge(
    object({
      command: constant("mount"),
      mountpoint: argument(mountpoint, {
        description: message`A folder; what lies in it is hidden meanwhile.`,
      }),
    }),
    object(origins),
    object(caching),
    object(bandwidth),
    object(measured),
    object(shown),
    object(configured),
    object(successor),
  ),
  {
    usageLine: mountpointLast,
    brief: message`Show music that lies elsewhere as a read-only folder.`,
    description: message`Mounts and stays in the foreground until it is stopped.`,
    footer: examples(
      [
        "musicfs mount ~/Music --origin /mnt/nas/music",
        "musicfs mount /srv/music --origin /mnt/nas/music --cache on --max-size 50G",
        "musicfs mount ~/Music --origin sftp://ann@nas/srv/music",
        "musicfs mount ~/Music --origin 's3://music?endpoint=https://s3.example.org&region=eu-1'",
        "MUSICFS_ORIGIN=/mnt/nas/music musicfs mount ~/Music",
      ],
      "Each option is also an environment variable and a key of the configuration file:",
      '--max-size 20G, MUSICFS_MAX_SIZE=20G, max_size = "20G".',
    ),
  },
);

const unmount = command(
  "unmount",
  object({
    command: constant("unmount"),
    mountpoint: argument(mountpoint, { description: message`Where it is mounted.` }),
    ...cacheDir,
  }),
  {
    usageLine: mountpointLast,
    brief: message`Stop a daemon and take its mount away.`,
    description: message`Waits until the mount is gone; detaches it if its daemon is dead.`,
    footer: examples(["musicfs unmount ~/Music"]),
  },
);

const scan = command(
  "scan",
  merge(
    object({ command: constant("scan") }),
    object(origins),
    object({
      checksum: option("--checksum", {
        description: message`Compare cached bytes with the origin's, too.`,
      }),
      acceptDeletions: option("--accept-deletions", {
        description: message`Believe that most of the library is gone, if it is.`,
      }),
      ...json,
    }),
    object(configured),
  ),
  {
    usageLine: onlyOptions,
    brief: message`Look for what was added, changed, moved or removed.`,
    description: message`Walks the origins and prints what differs from what is known.`,
    footer: examples([
      "musicfs scan",
      "musicfs scan --origin /mnt/nas/music --accept-deletions",
      "musicfs scan --json | jq '.origins[].added'",
    ]),
  },
);

const pathsLast: Usage = [
  anyOption,
  { type: "multiple", terms: [{ type: "argument", metavar: "PATH" }], min: 1 },
];
const pathsMaybe: Usage = [
  anyOption,
  { type: "multiple", terms: [{ type: "argument", metavar: "PATH" }], min: 0 },
];
const musicPath = argument(path({ metavar: "PATH" }), {
  description: message`A file or folder: in the mount, or as the library has it.`,
});
const atLeastOne = { min: 1, errors: { tooFew: message`Name at least one PATH.` } } as const;
const HOW_PATHS_ARE_MEANT =
  "PATH lies below the mountpoint (~/Music/Ana Vidal) or is one in the library (Ana Vidal).";

const warm = command(
  "warm",
  merge(
    object({
      command: constant("warm"),
      paths: multiple(musicPath, atLeastOne),
      ...json,
    }),
    object(origins),
    object(bandwidth),
    object(configured),
  ),
  {
    usageLine: pathsLast,
    brief: message`Fetch files and folders into the cache now.`,
    description: message`Fetches what is missing; exit code 1 if not all of it could be.`,
    footer: examples(
      ["musicfs warm ~/Music/Ana\\ Vidal", "musicfs warm 'Ana Vidal/Salt Roads' --json"],
      HOW_PATHS_ARE_MEANT,
    ),
  },
);

const pin = command(
  "pin",
  merge(
    object({
      command: constant("pin"),
      paths: multiple(musicPath),
      ...json,
    }),
    object(origins),
    object(bandwidth),
    object(configured),
  ),
  {
    usageLine: pathsMaybe,
    brief: message`Keep files and folders for offline use.`,
    description:
      message`Fetches them and never evicts them, nor what appears in them later. Lists the pins without a PATH.`,
    footer: examples(["musicfs pin ~/Music/Ana\\ Vidal", "musicfs pin"], HOW_PATHS_ARE_MEANT),
  },
);

const unpin = command(
  "unpin",
  merge(
    object({
      command: constant("unpin"),
      paths: multiple(musicPath, atLeastOne),
      ...json,
    }),
    object(configured),
  ),
  {
    usageLine: pathsLast,
    brief: message`Let go of what was pinned.`,
    description: message`What is cached stays until its room is needed.`,
    footer: examples(["musicfs unpin ~/Music/Ana\\ Vidal"], HOW_PATHS_ARE_MEANT),
  },
);

const gc = command(
  "gc",
  merge(
    object({
      command: constant("gc"),
      max_size: optional(option("--max-size", size, {
        description: message`Evict down to this size: 20G is 20 GiB, 20GB is 10^9 bytes each.`,
      })),
      dryRun: option("--dry-run", { description: message`Only say what would go.` }),
      ...json,
    }),
    object(configured),
  ),
  {
    usageLine: onlyOptions,
    brief: message`Make the cache smaller.`,
    description:
      message`Evicts what was used least until the cache fits, and drops what nothing refers to.`,
    footer: examples(["musicfs gc", "musicfs gc --max-size 20G --dry-run"]),
  },
);

const verify = command(
  "verify",
  merge(
    object({
      command: constant("verify"),
      repair: option("--repair", { description: message`Fetch bad chunks again.` }),
      ...json,
    }),
    object(origins),
    object(configured),
  ),
  {
    usageLine: onlyOptions,
    brief: message`Check every chunk of the cache.`,
    description: message`Exit code 1 if something is bad and stays so.`,
    footer: examples(["musicfs verify", "musicfs verify --repair"]),
  },
);

const index = command(
  "index",
  merge(
    object({
      command: constant("index"),
      folder: argument(path({ metavar: "FOLDER" }), {
        description: message`Where the music is: a folder of this machine, or an s3:// URL.`,
      }),
      ...json,
    }),
    object(excluding),
    object(chunkHash),
    object(logged),
  ),
  {
    usageLine: [anyOption, { type: "argument", metavar: "FOLDER" }],
    brief: message`Write a chunk index beside the music.`,
    description:
      message`Reads what is new or changed since the last run and writes .musicfs/ into the folder or bucket. Mounts that find it show all names at once and fetch only the chunks that they lack.`,
    footer: examples(
      [
        "musicfs index /srv/music",
        "musicfs index 's3://music?endpoint=https://s3.example.org&region=eu-1'",
      ],
      "Run it where the music is; not over SFTP.",
    ),
  },
);

const checkMount = command(
  "check-mount",
  object({
    command: constant("check-mount"),
    mountpoint: optional(argument(mountpoint, {
      description: message`Where to look. Default: every musicfs mount.`,
    })),
    dryRun: option("--dry-run", { description: message`Only say what is stale.` }),
    ...json,
  }),
  {
    usageLine: mountpointMaybe,
    brief: message`Find stale mounts and detach them.`,
    description:
      message`Prints one line a mount: absent, live, unanswered or stale. A live one is never touched.`,
    footer: examples([
      "musicfs check-mount",
      "musicfs check-mount /srv/music --dry-run",
      "ExecStopPost=-/usr/bin/musicfs check-mount /srv/music",
    ]),
  },
);

const status = command(
  "status",
  merge(
    object({
      command: constant("status"),
      mountpoint: optional(argument(mountpoint, {
        description: message`Where it is mounted. Default: whoever has the cache.`,
      })),
      watch: option("--watch", {
        description: message`Show it again and again, until Ctrl-C.`,
      }),
      interval: optional(option("--interval", duration, {
        description: message`How often with --watch. Default: 2s.`,
      })),
      json: option("--json", {
        description: message`Print JSON; with --watch one object a line.`,
      }),
    }),
    object(configured),
  ),
  {
    usageLine: mountpointMaybe,
    brief: message`Show what a daemon and its cache are doing.`,
    footer: examples([
      "musicfs status",
      "musicfs status ~/Music --watch",
      "musicfs status --json --watch --interval 10s",
    ]),
  },
);

const doctor = command(
  "doctor",
  merge(
    object({ command: constant("doctor"), ...json }),
    object({ origins: origins.origins }),
    object(configured),
  ),
  {
    usageLine: onlyOptions,
    brief: message`Check what a mount needs, and say what to do about it.`,
    description:
      message`Prints one line a check: ok, warning, failed or skipped, what was found, and the remedy. Exit code 1 if something failed.`,
    footer: examples([
      "musicfs doctor",
      "musicfs doctor --origin sftp://ann@nas/srv/music",
      "musicfs doctor --json | jq '.checks[] | select(.state == \"failed\")'",
    ]),
  },
);

const events = command(
  "events",
  merge(
    object({
      command: constant("events"),
      json: option("--json", { description: message`Print JSON, one object a line.` }),
    }),
    object(configured),
  ),
  {
    usageLine: onlyOptions,
    brief: message`Follow what happens in a daemon.`,
    description:
      message`Prints files that come, change, move and go, origins that go down and come back, scans and evictions, until Ctrl-C or the daemon's end.`,
    footer: examples([
      "musicfs events",
      "musicfs events --json | jq 'select(.event == \"origin_down\")'",
    ]),
  },
);

const version = command(
  "version",
  object({ command: constant("version"), ...json }),
  { brief: message`Print the version.`, footer: examples(["musicfs version --json"]) },
);

/** Every command; the value tells by `command` which one was typed. */
export const parser = or(
  mount,
  unmount,
  scan,
  warm,
  pin,
  unpin,
  gc,
  verify,
  index,
  checkMount,
  status,
  doctor,
  events,
  version,
);

/** One command as it was typed. */
export type Parsed = InferValue<typeof parser>;

/** One of them, by name. */
export type ParsedCommand<Name extends Parsed["command"]> = Extract<Parsed, { command: Name }>;

function examples(lines: readonly string[], ...notes: readonly string[]): Message {
  const all = ["Examples:", ...lines.map((line) => `  ${line}`), ...notes];
  return all.flatMap((line, at) => at === 0 ? [text(line)] : [lineBreak(), text(line)]);
}
