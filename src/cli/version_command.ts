import { VERSION } from "../mount/version.ts";
import { type Output, printJson } from "./output.ts";

/** `musicfs version`. */
export function runVersion(json: boolean, stdout: Output): void {
  if (!json) {
    stdout.write(`musicfs ${VERSION}\n`);
    return;
  }
  printJson(stdout, {
    version: VERSION,
    deno: Deno.version.deno,
    os: Deno.build.os,
    arch: Deno.build.arch,
    kernel: Deno.osRelease(),
    compiled: Deno.build.standalone,
  });
}
