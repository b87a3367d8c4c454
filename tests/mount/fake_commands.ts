import type { DaemonCommands } from "../../src/mount/cache_commands.ts";

/** Commands that nobody is to call; each test gives those it needs. */
export function commandsOf(some: Partial<DaemonCommands>): DaemonCommands {
  const unexpected = (): Promise<never> => Promise.reject(new Error("not expected"));
  return {
    gc: unexpected,
    scan: unexpected,
    verify: unexpected,
    warm: unexpected,
    pin: unexpected,
    unpin: unexpected,
    pins: unexpected,
    status: unexpected,
    unmount: unexpected,
    ...some,
  };
}
