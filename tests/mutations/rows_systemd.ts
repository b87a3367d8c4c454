/** Rows of the process and the mount under a real systemd manager. */

import type { Mutation } from "./mutation.ts";

const SYSTEMD = "tests/e2e/systemd_test.ts";
const TAKEOVER = "tests/e2e/systemd_takeover_test.ts";
const UNIT = "systemd/user/musicfs@.service";

export const ROWS_SYSTEMD: readonly Mutation[] = [
  {
    row: "A4",
    layer: "S",
    behaviour:
      "without the store of descriptors a dead mount is detached by ExecStopPost=, and there again",
    test: { file: SYSTEMD, name: "without the store, a kill is cleared away and ls works again" },
    removed: "no ExecStopPost=",
    file: UNIT,
    search: "\nExecStopPost=-",
    replace: "\n#",
  },
  {
    row: "A4b",
    layer: "S",
    behaviour: "kill -9 under readers costs them nothing but time",
    test: { file: TAKEOVER, name: "kill -9 under readers costs them nothing but time" },
    removed: "nothing is stored",
    file: UNIT,
    search: "FileDescriptorStoreMax=8",
    replace: "FileDescriptorStoreMax=0",
  },
  {
    row: "A4b",
    layer: "S",
    behaviour: "five deaths right after the start end in exit code 3, and nothing is left",
    test: {
      file: TAKEOVER,
      name: "five deaths right after the start end in exit code 3, and nothing is left",
    },
    removed: "nobody counts",
    file: "src/mount/takeover.ts",
    search: "quickDeaths: quickDeaths + 1 };",
    replace: "quickDeaths };",
    limitS: 240,
  },
  {
    row: "A4c",
    layer: "S",
    behaviour: "systemctl restart under readers costs them nothing but time",
    test: { file: TAKEOVER, name: "systemctl restart under readers costs them nothing but time" },
    removed: "a restart unmounts, as a stop does",
    file: UNIT,
    search: "\nRestartKillSignal=SIGUSR1",
    replace: "",
  },
  {
    row: "A5",
    layer: "S",
    behaviour: "`systemctl start` returns once the mount answers",
    test: { file: SYSTEMD, name: "systemctl start returns once ls works; stop unmounts, exit 0" },
    removed: "systemd does not wait for READY=1",
    file: UNIT,
    search: "\nType=notify",
    replace: "\nType=exec",
  },
  {
    row: "A6",
    layer: "S",
    behaviour:
      "a daemon that lives but serves nobody is killed by the watchdog, and the mount is back",
    test: {
      file: SYSTEMD,
      name: "a daemon that lives but serves nobody is killed by the watchdog",
    },
    removed: "pings are sent whether or not the mount answers",
    file: "src/mount/watchdog.ts",
    search: "    if (isAnswered) ping();\n",
    replace: "    ping();\n",
  },
  {
    row: "E9",
    layer: "S",
    behaviour: "an umount from outside ends the unit with 0, without a restart",
    test: {
      file: SYSTEMD,
      name: "an umount from outside ends the unit, exit 0, without a restart",
    },
    removed: "a mount that is taken away is a fault",
    file: "src/mount/daemon.ts",
    search: 'stop.stop(errno === ERRNO.ENODEV ? "outside" : "fault");',
    replace: 'stop.stop("fault");',
  },
];
