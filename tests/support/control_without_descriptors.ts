/**
 * Serves a control socket with no descriptor left, and then with some: `… SOCKET`, under a low limit.
 */
import { serveControl } from "../../src/mount/control.ts";
import { callDaemon } from "../../src/mount/control_client.ts";
import { silentLog } from "../../src/base/log.ts";
import { commandsOf } from "../mount/fake_commands.ts";

if (import.meta.main) await main(Deno.args[0] ?? "");

async function main(path: string): Promise<void> {
  const refused = Promise.withResolvers<void>();
  await using _server = await serveControl({
    path,
    commands: commandsOf({
      pins: () => Promise.resolve({ pins: [], pinned_bytes: 0, limit_bytes: 7 }),
    }),
    log: { ...silentLog, warning: () => refused.resolve() },
  });
  // Loads what a call needs.
  await callDaemon(path, "pins");
  const held: Deno.FsFile[] = [];
  const client = await Deno.connect({ transport: "unix", path });
  client.close();
  try {
    for (;;) held.push(await Deno.open("/dev/null"));
  } catch (error) {
    if (held.length === 0) throw error;
  }
  // One for the client; none is left for the server's end of it.
  held.pop()?.close();
  const call = callDaemon(path, "pins");
  await refused.promise;
  for (const file of held) file.close();
  const { limit_bytes } = Object(await call);
  const said = limit_bytes === 7 ? "refused once, then answered\n" : "other bytes\n";
  await Deno.stdout.write(new TextEncoder().encode(said));
}
