/** Below Linux's ephemeral ports: no client's own end can sit on a server's port while that is down. */
const FIRST = 20_000;
const END = 32_768;

/** A loopback port that nobody listens on now and that stays the server's while it is stopped. */
export function freePort(): number {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const port = FIRST + Math.floor(Math.random() * (END - FIRST));
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new Error(`No free port from ${FIRST} to ${END - 1}`);
}

/** Whether something accepts connections there. */
export async function accepts(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}
