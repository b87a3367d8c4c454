/** Where the servers' programs are: built by `go install`, kept between runs. */

import { join } from "node:path";

const MINIO_VERSION = "v0.0.0-20260212201848-7aac2a2c5b7c";
const TOXIPROXY_VERSION = "v2.5.0";

export interface GoProgram {
  /** Name without version. */
  name: string;
  version: string;
  /** What `go install` takes, without the version. */
  module: string;
  /** Where others may have built it already. */
  elsewhere: string;
  /** The binary that `go install` leaves. */
  built: string;
}

export const MINIO: GoProgram = {
  name: "minio",
  version: MINIO_VERSION,
  module: "github.com/minio/minio",
  elsewhere: "minio",
  built: "minio",
};

export const TOXIPROXY: GoProgram = {
  name: "toxiproxy",
  version: TOXIPROXY_VERSION,
  module: "github.com/Shopify/toxiproxy/v2/cmd/server",
  elsewhere: "toxiproxy-server",
  built: "server",
};

/** Folder of what the tests built, kept between runs. */
export function programsDir(): string {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? join(home(), ".cache");
  return join(cache, "musicfs-tests/bin");
}

/** Where a program of that version would be kept. */
export function keptPath({ name, version }: GoProgram): string {
  return join(programsDir(), `${name}-${version}`);
}

/** Path of the program: ours, else one in Go's own folder; undefined if there is neither. */
export function installed(program: GoProgram): string | undefined {
  const gopath = Deno.env.get("GOPATH") ?? join(home(), "go");
  return [keptPath(program), join(gopath, "bin", program.elsewhere)].find(isFile);
}

/** Path of the program; fails with what brings it. */
export function required(program: GoProgram): string {
  const path = installed(program);
  if (path !== undefined) return path;
  throw new Error(
    `${program.name} is missing: deno run -A tests/support/servers/main.ts --install`,
  );
}

function home(): string {
  return Deno.env.get("HOME") ?? "/root";
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
