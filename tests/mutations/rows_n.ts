/** Rows D1 to D10 on real networks: MinIO and OpenSSH, behind Toxiproxy or a link of our own. */

import type { Mutation } from "./mutation.ts";

const REFUSAL = "tests/network/refusal_test.ts";
const OUTAGE = "tests/network/outage_test.ts";
const HEALTH = "tests/network/toxic_health_test.ts";

export const ROWS_N: readonly Mutation[] = [
  {
    row: "D1",
    layer: "N",
    behaviour: "EIO within `read_timeout`; what is cached does not wait",
    test: {
      file: "tests/network/toxics_test.ts",
      name:
        "a server over sftp that hangs: EIO in time, what is cached plays, and all of it afterwards",
    },
    removed: "the kernel's second attempt has all the time again",
    file: "src/mount/deferred_requests.ts",
    search: "    if (late !== undefined) return this.#error(request, late);\n",
    replace: "",
  },
  {
    row: "D2",
    layer: "N",
    behaviour: "readers wait out a link that is gone, and get no error",
    test: {
      file: OUTAGE,
      name: "8 readers over s3 wait out a link that is closed, and refused, and get no error",
    },
    removed: "nothing is tried again",
    file: "src/fetch/flight.ts",
    search: "repeatLast: true",
    replace: "waitsMs: []",
  },
  {
    row: "D2",
    layer: "N",
    behaviour:
      "right bytes through every toxic: latency, bandwidth, slicer, limit_data, reset_peer, slow_close, timeout, partition",
    test: {
      file: "tests/network/toxics_test.ts",
      name: "mount over s3 gives the right bytes through every toxic",
    },
    removed: "the rest of a body that broke off is put at its start",
    file: "src/origins/retrying.ts",
    search: "        whole.set(bytes, done);\n",
    replace: "        whole.set(bytes, 0);\n",
  },
  {
    row: "D3",
    layer: "N",
    behaviour: "a player over 300 ms hears nothing of 4 s without a link",
    test: {
      file: "tests/network/player_test.ts",
      name: "a player over s3 hears nothing of 4 s without a link",
    },
    removed: "nothing is fetched ahead",
    file: "src/reader/read_ahead.ts",
    search: "if (window === 0 || offset >= until) return undefined;",
    replace: "if (window >= 0 || offset >= until) return undefined;",
  },
  {
    row: "D3",
    layer: "N",
    behaviour: "a slow origin is degraded, and another one is asked first",
    test: {
      file: HEALTH,
      name: "a link that closes late, is parted, is slow: the state it shows, and who is read from",
    },
    removed: "nobody is slow",
    file: "src/origins/health.ts",
    search: "      other !== name && otherMs !== null && ms > otherMs * SLOW_FACTOR * share\n",
    replace: "      other !== name && otherMs !== null && ms > 1e6 * SLOW_FACTOR * share\n",
    limitS: 300,
  },
  {
    row: "D4",
    layer: "N",
    behaviour: "the next read comes from the backup within 3 s, later ones from the primary again",
    test: {
      file: OUTAGE,
      name:
        "the primary killed under readers: the backup serves them, and the primary again when it is back",
    },
    removed: "only the preferred origin is asked",
    file: "src/fetch/flight.ts",
    search: "for (const { origin: name, path, version } of sources) {",
    replace: "for (const { origin: name, path, version } of sources.slice(0, 1)) {",
  },
  {
    row: "D4",
    layer: "N",
    behaviour: "a partition takes the primary offline, and a probe brings it back",
    test: {
      file: HEALTH,
      name: "a link that closes late, is parted, is slow: the state it shows, and who is read from",
    },
    removed: "an answer does not bring an origin back",
    file: "src/origins/health.ts",
    search: 'const online: Health = { ...UNKNOWN_HEALTH, state: "online" };',
    replace:
      'const online: Health = { ...UNKNOWN_HEALTH, state: health.state === "offline" ? "offline" : "online" };',
  },
  {
    row: "D5",
    layer: "N",
    behaviour: "all names, cached bytes at once, EIO in time for the rest",
    test: {
      file: "tests/network/mount_test.ts",
      name:
        "mount over s3 shows every byte, and after a restart without the server all names, what is cached, and EIO in time for the rest",
    },
    removed: "`read_timeout` is ten times as long",
    file: "src/fetch/content_fetcher.ts",
    search: "await clock.sleep(readTimeoutMs, signal);",
    replace: "await clock.sleep(readTimeoutMs * 10, signal);",
  },
  {
    row: "D5",
    layer: "N",
    behaviour: "recovery triggers a scan",
    test: {
      file: HEALTH,
      name: "a link that closes late, is parted, is slow: the state it shows, and who is read from",
    },
    removed: "an origin that is back is scanned at the next poll",
    file: "src/mount/background.ts",
    search: "    if (offlineMs >= SCAN_AFTER_MS) scan();\n",
    replace: "    if (offlineMs < 0) scan();\n",
    limitS: 300,
  },
  {
    row: "D8",
    layer: "N",
    behaviour: "an emptied bucket deletes nothing by itself",
    test: {
      file: "tests/network/vanished_origin_test.ts",
      name: "a bucket that is emptied before a scan loses nothing by itself",
    },
    removed: "an origin of which nothing is left is believed",
    file: "src/library/deletion_guard.ts",
    search: '  if (!anythingLeft || (gone > UNGUARDED_FILES_MAX && gone >= of)) return "hold";\n',
    replace: "",
  },
  {
    row: "D9",
    layer: "N",
    behaviour: "a host key that changed is refused",
    test: { file: REFUSAL, name: "a wrong host key is refused, and what is known stays" },
    removed: "a fingerprint in the URL is not compared",
    file: "src/origins/sftp_host_key.ts",
    search: "  if (shown === fingerprint) return undefined;\n",
    replace: '  if (shown !== "") return undefined;\n',
  },
  {
    row: "D9",
    layer: "N",
    behaviour: "an unknown host key is refused, with the line to add",
    test: { file: REFUSAL, name: "an unknown host key is refused, with the line to add" },
    removed: "an unknown key is trusted",
    file: "src/origins/sftp_host_key.ts",
    search: 'if (verdict.is === "known") return undefined;',
    replace: 'if (verdict.is === "known" || verdict.is === "unknown") return undefined;',
  },
  {
    row: "D9",
    layer: "N",
    behaviour: "a certificate that expired, or that nobody vouches for: refused, and said so",
    test: {
      file: REFUSAL,
      name: "an expired certificate is refused, a good one of the same authority is not",
    },
    removed: "a refused certificate is any broken connection",
    file: "src/origins/s3_diagnosis.ts",
    search: '? { code: "TLS", detail: error.message }',
    replace: "? diagnosisOf(error)",
  },
  {
    row: "D9",
    layer: "N",
    behaviour: "wrong credentials: refused, and no secret in a log or a message",
    test: {
      file: REFUSAL,
      name: "a wrong password is refused; no password is in a log, a message or the cache",
    },
    removed: "the message says which password was tried",
    file: "src/origins/sftp_login.ts",
    search: 'shown: "the password",',
    replace: "shown: `the password ${password}`,",
  },
  {
    row: "D9",
    layer: "N",
    behaviour: "wrong credentials: refused, and what is known stays",
    test: { file: REFUSAL, name: "a wrong secret is refused, and what is known stays" },
    removed: "a wrong secret is a missing object",
    file: "src/origins/s3_errors.ts",
    search:
      '  SignatureDoesNotMatch: denied(\n    "the secret key does not fit the access key; check AWS_SECRET_ACCESS_KEY",\n  ),',
    replace: '  SignatureDoesNotMatch: { code: "not_found", reason: "it does not exist" },',
  },
  {
    row: "D9",
    layer: "P",
    behaviour: "no retry storm: an origin that refused us is not asked for 15 s",
    test: {
      file: "tests/origins/guarded_test.ts",
      name: "guardOrigin() asks nothing of an origin that has just refused us",
    },
    removed: "every call asks it again",
    file: "src/origins/guarded.ts",
    search: "    if (refusal) throw refusal;\n",
    replace: "",
  },
  {
    row: "D10",
    layer: "N",
    behaviour: "garbage for a listing deletes nothing",
    test: { file: REFUSAL, name: "a listing that is garbage deletes nothing" },
    removed: "what is no listing is an empty one",
    file: "src/origins/s3.ts",
    search: 'throw s3Error(task, "unavailable", result.reason);',
    replace:
      "return { objects: [], prefixes: [], undecodable: 0, folders: [], nextToken: undefined };",
  },
];
