/** The unit that runs a daemon, for `musicfs doctor`. */

import { type Finding, ok, warning } from "./doctor.ts";

/** A unit, and whether it is one of a user's manager. */
export interface UnitName {
  unit: string;
  isUsers: boolean;
}

/**
 * The service that a process runs in, from the text of its /proc/PID/cgroup; undefined for one that
 * was started by hand, or in a container. Source: cgroups(7).
 */
export function unitOf(cgroup: string): UnitName | undefined {
  const [, path = ""] = /^0::(.*)$/m.exec(cgroup) ?? /:name=systemd:(.*)$/m.exec(cgroup) ?? [];
  const parts = path.split("/").filter(Boolean);
  const unit = parts.at(-1);
  if (unit === undefined || !unit.endsWith(".service")) return undefined;
  const isUsers = parts.slice(0, -1).some((part) => /^user@\d+\.service$/.test(part));
  // A program that a manager of users itself started, and not a unit of it.
  return /^user@\d+\.service$/.test(unit) ? undefined : { unit, isUsers };
}

/** What {@linkcode judgeUnit} asks `systemctl show` for. */
export const UNIT_PROPERTIES = [
  "Type",
  "FileDescriptorStoreMax",
  "WatchdogUSec",
  "Restart",
  "ExecStopPost",
  "StartLimitIntervalUSec",
] as const;

/** Judges the unit's settings, from what `systemctl show` printed. */
export function judgeUnit({ unit }: UnitName, shown: string): Finding {
  const properties = new Map(
    shown.split("\n").map((line): [string, string] => {
      const at = line.indexOf("=");
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  const of = (name: typeof UNIT_PROPERTIES[number]): string => properties.get(name) ?? "";
  const settings: string[] = [];
  if (!of("Type").startsWith("notify")) settings.push("Type=notify");
  if (Number(of("FileDescriptorStoreMax") || 0) < 1) settings.push("FileDescriptorStoreMax=8");
  if (/^(0|infinity|)$/.test(of("WatchdogUSec"))) settings.push("WatchdogSec=30s");
  if (/^(no|)$/.test(of("Restart"))) settings.push("Restart=on-failure");
  if (!of("ExecStopPost").includes("check-mount")) {
    settings.push("ExecStopPost=-/usr/bin/musicfs check-mount MOUNTPOINT");
  }
  if (of("StartLimitIntervalUSec") !== "0") settings.push("StartLimitIntervalSec=0");
  if (settings.length === 0) {
    return ok(
      `${unit}: ${of("FileDescriptorStoreMax")} descriptors kept, watchdog ${of("WatchdogUSec")}`,
    );
  }
  const lacks = settings.map((setting) => setting.split("=", 1)[0]).join(", ");
  return warning(`${unit} is without ${lacks}`, `systemctl edit ${unit}: ${settings.join(" ")}`);
}
