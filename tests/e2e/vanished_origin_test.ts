/** A local origin whose folder is not what it was: nothing is lost before somebody says so. */

import { output, shell } from "../support/process.ts";
import { detach } from "../support/mounts.ts";
import { testWith } from "../support/requirements.ts";
import { tempDir } from "../support/temp_dir.ts";
import { assertSurvives, mostAlbums, type Outcome, writeAlbums } from "../support/vanishing.ts";

const NEEDS = ["fuse", "fusermount3", "diff", "find", "root", "mount"] as const;

/** What happens to the origin's folder: a tmpfs of its own, mounted on an empty folder. */
interface Loss {
  vanish: (origin: string) => Promise<unknown>;
  outcome: Outcome;
  /** The same, if a scan has seen it well before. */
  during: Outcome;
}

const LOSSES: Record<string, Loss> = {
  "is unmounted": {
    vanish: (origin) => output("umount", ["-l", origin]),
    outcome: "held",
    during: "held",
  },
  "is emptied": {
    vanish: (origin) => output("find", [origin, "-mindepth", "1", "-delete"]),
    outcome: "held",
    during: "held",
  },
  "becomes an empty folder": {
    vanish: (origin) =>
      shell(`umount -l '${origin}' && mv '${origin}' '${origin}-away' && mkdir '${origin}'`),
    outcome: "held",
    during: "held",
  },
  "becomes another disk": {
    vanish: async (origin) => {
      await mountDisk(origin);
      await writeAlbums(`${origin}/Other`, 1_000);
    },
    outcome: "held",
    during: "held",
  },
  "is missing": {
    vanish: (origin) => shell(`umount -l '${origin}' && rmdir '${origin}'`),
    outcome: "down",
    during: "down",
  },
  "loses most of its folders": {
    vanish: (origin) => output("rm", ["-r", ...mostAlbums().map((name) => `${origin}/${name}`)]),
    outcome: "confirmed",
    during: "confirmed",
  },
};

for (const [what, { vanish, outcome, during }] of Object.entries(LOSSES)) {
  for (const isDuring of [false, true]) {
    const when = isDuring ? "during" : "before";
    testWith(
      NEEDS,
      `a local origin that ${what} ${when} a scan loses nothing by itself`,
      async () => {
        await using dir = await tempDir("vanished");
        const [origin, copy] = [`${dir.path}/origin`, `${dir.path}/copy`];
        await Deno.mkdir(origin);
        await writeAlbums(copy);
        try {
          await mountDisk(origin);
          await shell(`cp -a '${copy}/.' '${origin}'`);
          await assertSurvives({
            dir: dir.path,
            origin,
            copy,
            vanish: async () => void await vanish(origin),
            outcome: isDuring ? during : outcome,
            isDuring,
          });
        } finally {
          await detach(origin);
        }
      },
    );
  }
}

async function mountDisk(path: string): Promise<void> {
  await output("mount", ["-t", "tmpfs", "-o", "size=32M,mode=0755", "musicfs-test", path]);
}
