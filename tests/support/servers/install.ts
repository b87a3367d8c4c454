/** Builds the servers that no Debian package brings: `go install`, and Go itself where it is missing. */

import { join } from "node:path";
import { output, run } from "../process.ts";
import { type GoProgram, installed, keptPath, MINIO, programsDir, TOXIPROXY } from "./programs.ts";

/** Longest build, in ms; MinIO took 3 minutes on two cores that did nothing else. */
const BUILD_MS_MAX = 30 * 60_000;

/**
 * The Go that builds both, from Go's own module proxy: Debian 12's is too old to fetch a newer one.
 * SHA-256 of the archive.
 */
const TOOLCHAIN = {
  version: "1.26.8",
  sha256: "30c2b1bf7dcc88d3eb0a1364e47ddd9128edb3110a30e8a0ef61cd5856b31de7",
};

/** Every server that is not installed. */
export function missingServers(): GoProgram[] {
  return [TOXIPROXY, MINIO].filter((program) => installed(program) === undefined);
}

/**
 * Builds what is missing and keeps it for the next run, at the lowest priority: tests run meanwhile.
 * True if nothing is missing now; otherwise it has said why.
 */
export async function installServers(say: (text: string) => void): Promise<boolean> {
  const missing = missingServers();
  if (missing.length === 0) return true;
  say(`Building ${missing.map(({ name }) => name).join(" and ")}: some minutes, once\n`);
  try {
    const go = await findGo() ?? await fetchGo(say);
    for (const program of missing) await build(go, program);
    return true;
  } catch (error) {
    say(`Cannot build ${missing.map(({ name }) => name).join(" and ")}: ${error}\n`);
    return false;
  }
}

async function build(go: string, program: GoProgram): Promise<void> {
  await Deno.mkdir(programsDir(), { recursive: true });
  const unfinished = await Deno.makeTempDir({ dir: programsDir() });
  try {
    const env = { GOBIN: unfinished, CGO_ENABLED: "0", GOTOOLCHAIN: "auto" };
    const words = ["-n", "19", go, "install", "-ldflags=-s -w"];
    words.push(`${program.module}@${program.version}`);
    await output("nice", words, { env, limitMs: BUILD_MS_MAX });
    await Deno.rename(join(unfinished, program.built), keptPath(program));
  } finally {
    await Deno.remove(unfinished, { recursive: true });
  }
}

/** A Go that can fetch the version a module asks for: 1.21 and later. */
async function findGo(): Promise<string | undefined> {
  for (const go of ["go", "/usr/local/go/bin/go", fetchedGo()]) {
    const found = await run("bash", ["-c", 'command -v "$0"', go]);
    if (found.code !== 0) continue;
    const [, minor = "0"] = /^go1\.(\d+)/.exec(await output(go, ["env", "GOVERSION"])) ?? [];
    if (Number(minor) >= 21) return go;
  }
  return undefined;
}

async function fetchGo(say: (text: string) => void): Promise<string> {
  const { version, sha256 } = TOOLCHAIN;
  if (Deno.build.arch !== "x86_64") throw new Error(`there is no Go; install Go 1.21 or later`);
  const name = `v0.0.1-go${version}.linux-amd64`;
  say(`Fetching Go ${version}, 70 MB\n`);
  const dir = join(programsDir(), "..");
  await Deno.mkdir(dir, { recursive: true });
  const work = await Deno.makeTempDir({ dir });
  try {
    const archive = join(work, "go.zip");
    const response = await fetch(`https://proxy.golang.org/golang.org/toolchain/@v/${name}.zip`);
    if (!response.ok) throw new Error(`Go's module proxy answers ${response.status}`);
    await Deno.writeFile(archive, response.body ?? new Uint8Array());
    const [sum] = (await output("sha256sum", [archive])).split(" ");
    if (sum !== sha256) throw new Error(`the archive of Go ${version} has SHA-256 ${sum}`);
    await output("unzip", ["-q", archive, "-d", work]);
    const root = join(work, `golang.org/toolchain@${name}`);
    await Deno.rename(root, join(dir, `go-${version}`));
  } finally {
    await output("rm", ["-rf", work]);
  }
  return fetchedGo();
}

function fetchedGo(): string {
  return join(programsDir(), `../go-${TOOLCHAIN.version}/bin/go`);
}
