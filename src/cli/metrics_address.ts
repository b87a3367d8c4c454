import type { MetricsAddress } from "../mount/config.ts";

const PORT_MAX = 65_535;

/**
 * Where figures are served: `127.0.0.1:9300`, `[::1]:9300`, `localhost:9300`, `unix:/path`, `off`.
 *
 * Undefined for everything else, also for addresses that other machines reach: what is served names
 * origins and needs no password.
 *
 * @example
 * ```ts
 * import assert from "node:assert/strict";
 * import { parseMetricsAddress } from "./metrics_address.ts";
 *
 * const address = { transport: "tcp", hostname: "127.0.0.1", port: 9300 };
 * assert.deepEqual(parseMetricsAddress("127.0.0.1:9300"), address);
 * assert.deepEqual(parseMetricsAddress("unix:/run/m.sock"), { transport: "unix", path: "/run/m.sock" });
 * assert.equal(parseMetricsAddress("0.0.0.0:9300"), undefined);
 * ```
 */
export function parseMetricsAddress(text: string): MetricsAddress | "off" | undefined {
  if (text === "off") return "off";
  const [, path] = /^unix:(\/[^\0]*[^\0/])$/.exec(text) ?? [];
  if (path !== undefined) return { transport: "unix", path };
  const [, host = "", digits = ""] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  const hostname = host.replace(/^\[(.*)\]$/, "$1").toLowerCase();
  const port = Number(digits);
  if (digits === "" || port > PORT_MAX || !isLoopback(hostname)) return undefined;
  return { transport: "tcp", hostname, port };
}

function isLoopback(hostname: string): boolean {
  if (hostname === "localhost" || hostname === "::1") return true;
  const parts = hostname.split(".");
  return parts.length === 4 && parts[0] === "127" &&
    parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) <= 255);
}
