import { LocalOrigin } from "../origins/local.ts";
import type { Cache } from "./cache.ts";

/**
 * Opens a file at its origin that a reader has opened here, where its bytes are not all cached: if
 * it is replaced by rename while it is read, what is left of the old one can still be had.
 */
export function holdOpen(cache: Cache, versionId: number): void {
  const version = cache.namespace.version(versionId);
  if (!version || cache.manifests.list(versionId)?.frontier === version.size) return;
  const { origin: name, path, version: text } = version.sources[0];
  const origin = cache.origins.find((origin) => origin.name === name);
  if (!(origin instanceof LocalOrigin)) return;
  const { signal } = new AbortController();
  origin.hold({ path, size: version.size, version: text }, { signal }).catch((error) => {
    cache.log.debug("A file could not be held open", { path, error });
  });
}
