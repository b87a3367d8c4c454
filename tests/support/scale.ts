/**
 * How long the long tests run: short ones in `deno task test`, the sizes the issues ask for in
 * `deno task test:long`.
 */

/** `long` under `deno task test:long`, else `ci`. */
export function rounds({ ci, long }: { ci: number; long: number }): number {
  return isLong() ? long : ci;
}

/** Whether this is `deno task test:long`. */
export function isLong(): boolean {
  return Deno.env.get("MUSICFS_LONG") === "1";
}

let printed = false;

/** The seed of this run: `--seed` (by way of `MUSICFS_SEED`), else a new one; printed, to be reported. */
export function seed(): number {
  const given = Deno.env.get("MUSICFS_SEED");
  const value = given === undefined ? NEW_SEED : Number(given);
  if (!Number.isSafeInteger(value)) throw new Error(`MUSICFS_SEED is no integer: ${given}`);
  if (!printed) Deno.stderr.writeSync(new TextEncoder().encode(`seed ${value}\n`));
  printed = true;
  return value;
}

const NEW_SEED = crypto.getRandomValues(new Uint32Array(1))[0] ?? 1;
