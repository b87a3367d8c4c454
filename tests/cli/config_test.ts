import assert from "node:assert/strict";
import { type ConfigSources, type Flags, resolveConfig } from "../../src/cli/config.ts";
import { isJournal } from "../../src/cli/config_inputs.ts";
import { SETTING_KEYS } from "../../src/cli/settings.ts";
import { UsageError } from "../../src/cli/usage_error.ts";
import type { Config } from "../../src/mount/config.ts";

const HOME_FILE = "/home/ann/.config/musicfs/config.toml";

interface Given {
  flags?: Flags["settings"];
  origins?: readonly string[];
  config?: string;
  env?: Record<string, string>;
  files?: Record<string, string>;
  isJournal?: boolean;
}

function resolve(given: Given): Config {
  const sources: ConfigSources = {
    env: (name) => given.env?.[name],
    cwd: "/work",
    home: "/home/ann",
    isJournal: given.isJournal ?? false,
    readFile: (path) => given.files?.[path],
  };
  const { flags = {}, origins = [], config } = given;
  return resolveConfig({ settings: flags, origins, configFile: config }, sources);
}

function refusal(given: Given): string {
  try {
    resolve(given);
  } catch (error) {
    assert(error instanceof UsageError, String(error));
    return error.message;
  }
  assert.fail("not refused");
}

Deno.test("resolveConfig() has the defaults of the contract", () => {
  assert.deepEqual(resolve({}), {
    cacheDir: "/home/ann/.cache/musicfs",
    maxSizeBytes: undefined,
    cache: "auto",
    readTimeoutMs: 30_000,
    pollIntervalMs: 300_000,
    watch: true,
    trustAudioMd5: true,
    exclude: ["@eaDir", ".DS_Store", "#recycle"],
    origins: [],
    hooks: [],
    hash: "xxh128",
    umask: 0,
    uid: undefined,
    gid: undefined,
    allowOther: false,
    bwlimitBytes: undefined,
    logLevel: undefined,
    logFormat: "text",
    metrics: undefined,
  });
});

Deno.test("resolveConfig() takes every option from flag, environment and file alike", async (t) => {
  const values: Record<string, [text: string, toml: string, field: keyof Config, value: unknown]> =
    {
      cache_dir: ["/c", '"/c"', "cacheDir", "/c"],
      max_size: ["20G", '"20G"', "maxSizeBytes", 20 * 2 ** 30],
      cache: ["off", '"off"', "cache", "off"],
      no_passthrough: ["true", "true", "cache", "on"],
      read_timeout: ["5s", '"5s"', "readTimeoutMs", 5_000],
      poll_interval: ["1m", "60", "pollIntervalMs", 60_000],
      no_watch: ["true", "true", "watch", false],
      no_trust_audio_md5: ["true", "true", "trustAudioMd5", false],
      bwlimit: ["10M", '"10M"', "bwlimitBytes", 10 * 2 ** 20],
      exclude: ["a,b", '["a", "b"]', "exclude", ["a", "b"]],
      hash: ["xxh64", '"xxh64"', "hash", "xxh64"],
      umask: ["022", '"022"', "umask", 0o22],
      uid: ["7", "7", "uid", 7],
      gid: ["8", "8", "gid", 8],
      allow_other: ["1", "true", "allowOther", true],
      log_level: ["debug", '"debug"', "logLevel", "debug"],
      log_format: ["json", '"json"', "logFormat", "json"],
      metrics: ["unix:/m", '"unix:/m"', "metrics", { transport: "unix", path: "/m" }],
    };
  assert.deepEqual(Object.keys(values).sort(), [...SETTING_KEYS].sort());
  for (const [key, [text, toml, field, value]] of Object.entries(values)) {
    await t.step(key, () => {
      assert.deepEqual(resolve({ flags: { [key]: text } })[field], value);
      assert.deepEqual(resolve({ env: { [`MUSICFS_${key.toUpperCase()}`]: text } })[field], value);
      assert.deepEqual(resolve({ files: { [HOME_FILE]: `${key} = ${toml}` } })[field], value);
    });
  }
});

Deno.test("resolveConfig() serves figures on this machine alone", () => {
  const metrics = (text: string): Config["metrics"] =>
    resolve({ flags: { metrics: text } }).metrics;
  const tcp = (hostname: string, port: number): Config["metrics"] => ({
    transport: "tcp",
    hostname,
    port,
  });
  assert.deepEqual(metrics("127.0.0.1:9300"), tcp("127.0.0.1", 9300));
  assert.deepEqual(metrics("127.9.9.9:0"), tcp("127.9.9.9", 0));
  assert.deepEqual(metrics("[::1]:9300"), tcp("::1", 9300));
  assert.deepEqual(metrics("localhost:65535"), tcp("localhost", 65_535));
  const env = { MUSICFS_METRICS: "127.0.0.1:9300" };
  assert.equal(resolve({ env, flags: { metrics: "off" } }).metrics, undefined);
  const refused = ["9300", ":9300", "0.0.0.0:9300", "[::]:9300", "192.168.1.4:9300", "nas:9300"];
  refused.push("127.0.0.1:65536", "127.0.0.1", "127.0.0.1.nas.lan:1", "unix:m.sock", "unix:/m/");
  for (const text of refused) {
    const message = refusal({ flags: { metrics: text } });
    assert.match(message, /^--metrics cannot be ".*": write an address of this machine like/, text);
  }
});

Deno.test("resolveConfig() asks flag, environment, file and default, in this order", () => {
  const files = {
    "/etc/musicfs/config.toml": 'max_size = "1G"\nread_timeout = "1s"',
    [HOME_FILE]: 'max_size = "2G"',
    "/work/own.toml": 'max_size = "3G"',
  };
  const env = { MUSICFS_MAX_SIZE: "4G" };
  const size = (given: Given): number => (resolve(given).maxSizeBytes ?? 0) / 2 ** 30;
  assert.equal(
    size({ files: { "/etc/musicfs/config.toml": files["/etc/musicfs/config.toml"] } }),
    1,
  );
  assert.equal(size({ files }), 2);
  assert.equal(size({ files, config: "own.toml" }), 3);
  assert.equal(size({ files, env: { MUSICFS_CONFIG: "/work/own.toml" } }), 3);
  assert.equal(size({ files, env, config: "own.toml" }), 4);
  assert.equal(size({ files, env, flags: { max_size: "5G" } }), 5);
  // One file counts, not the sum of them.
  assert.equal(resolve({ files }).readTimeoutMs, 30_000);
});

Deno.test("resolveConfig() puts the cache where systemd and XDG say, unless told otherwise", () => {
  const xdg = { XDG_CACHE_HOME: "/xdg" };
  assert.equal(resolve({ env: xdg }).cacheDir, "/xdg/musicfs");
  const systemd = { ...xdg, CACHE_DIRECTORY: "/var/cache/musicfs/a:/var/cache/b" };
  assert.equal(resolve({ env: systemd }).cacheDir, "/var/cache/musicfs/a");
  assert.equal(resolve({ env: systemd, flags: { cache_dir: "here" } }).cacheDir, "/work/here");
  const files = { [HOME_FILE]: 'cache_dir = "~/c"' };
  assert.equal(resolve({ files }).cacheDir, "/home/ann/c");
});

Deno.test("resolveConfig() logs for journald where the journal listens, unless told otherwise", async () => {
  assert.equal(resolve({ isJournal: true }).logFormat, "journald");
  assert.equal(resolve({ isJournal: true, flags: { log_format: "json" } }).logFormat, "json");
  const auto = { env: { MUSICFS_LOG_FORMAT: "json" }, flags: { log_format: "auto" } };
  assert.equal(resolve({ isJournal: true, ...auto }).logFormat, "journald");
  assert.equal(resolve(auto).logFormat, "text");
  const { dev, ino } = await Deno.stat("/proc/self/fd/2");
  assert(isJournal(`${dev}:${ino}`, "/proc/self/fd/2"));
  assert(!isJournal(`${dev}:${(ino ?? 0) + 1}`, "/proc/self/fd/2"));
  assert(!isJournal(undefined, "/proc/self/fd/2"));
  assert(!isJournal("1:1", "/proc/self/fd/999"));
});

Deno.test("resolveConfig() sorts origins by priority, and flags replace those of the file", () => {
  const files = {
    [HOME_FILE]: `
[[origin]]
name = "nas"
url = "/mnt/nas/music/"
priority = 5
[[origin]]
url = "music"
priority = 1
`,
  };
  assert.deepEqual(resolve({ files }).origins, [
    {
      name: "/home/ann/.config/musicfs/music",
      url: "/home/ann/.config/musicfs/music",
      priority: 1,
    },
    { name: "nas", url: "/mnt/nas/music", priority: 5 },
  ]);
  const env = { MUSICFS_ORIGIN: " /a  /b\n" };
  assert.deepEqual(resolve({ files, env }).origins.map(({ url }) => url), ["/a", "/b"]);
  const typed = resolve({ files, env, origins: ["~/m", "file:///x%20y/", "../z"] }).origins;
  assert.deepEqual(typed, [
    { name: "/home/ann/m", url: "/home/ann/m", priority: 0 },
    { name: "/x y", url: "file:///x%20y/", priority: 1 },
    { name: "/z", url: "/z", priority: 2 },
  ]);
});

Deno.test("resolveConfig() refuses with file, line and column", () => {
  const cases: [toml: string, message: RegExp][] = [
    ["max_size = ", /config\.toml:1:\d+: this is not TOML: /],
    ["a = 1\na = 2", /config\.toml:2:1: this is not TOML: .*redefine/],
    ['\nmax_sise = "1G"', /config\.toml:2:1: unknown key "max_sise"/],
    ['[[origin]]\nurl = "/a"\n  prot = 1', /config\.toml:3:3: unknown key "origin\.prot"/],
    ['[[origin]]\nname = "a"', /config\.toml:1:3: "origin\.url" is missing/],
    ['cache = "maybe"', /config\.toml:1:1: "cache" cannot be "maybe": write one of on, off, auto/],
    ['hash = 1\nmax_size = "lots"', /config\.toml:(1|2):1: /],
    ["max_size = true", /"max_size" cannot be true: write a size like/],
    ["umask = 18", /"umask" cannot be 18: write an octal mask/],
    ['exclude = ["a/b"]', /"exclude" cannot be .*without "\/"/],
    ['origin = "x"', /write \[\[origin\]\]/],
  ];
  for (const [toml, message] of cases) {
    assert.match(refusal({ files: { [HOME_FILE]: toml } }), message, toml);
    assert(!refusal({ files: { [HOME_FILE]: toml } }).includes("\n"));
  }
});

const HOOKS = `
[[hook]]
command = ["mpc", "update"]
[[hook]]
command = ["~/bin/tell", "~/x"]
timeout = 5
min_interval = "1m"
[[hook]]
url = "http://127.0.0.1:4533/rest/startScan?u=ann&t=26719a&s=c19b2d"
method = "GET"
headers = { X-Token = "hidden" }
`;

Deno.test("resolveConfig() reads hooks, with their times and what they run", () => {
  const times = { timeoutMs: 30_000, minIntervalMs: 10_000 };
  assert.deepEqual(resolve({ files: { [HOME_FILE]: HOOKS } }).hooks, [
    { ...times, command: ["mpc", "update"] },
    { timeoutMs: 5_000, minIntervalMs: 60_000, command: ["/home/ann/bin/tell", "~/x"] },
    {
      ...times,
      url: "http://127.0.0.1:4533/rest/startScan?u=ann&t=26719a&s=c19b2d",
      method: "GET",
      headers: { "X-Token": "hidden" },
    },
  ]);
});

Deno.test("resolveConfig() refuses a hook that makes no sense, and shows none of its secrets", () => {
  const url = 'url = "http://a/?t=hidden"';
  const cases: [toml: string, message: RegExp][] = [
    ["[[hook]]", /config\.toml:1:3: "hook": needs command or url/],
    [`[[hook]]\n${url}\n[[hook]]`, /config\.toml:3:3: "hook": needs command or url/],
    [`[[hook]]\ncommand = ["a"]\n${url}`, /:3:1: "hook\.url": command and url are two hooks/],
    ['[[hook]]\ncommand = ["a"]\nmethod = "GET"', /:3:1: "hook\.method": a command has no method/],
    ['[[hook]]\ncommand = ["a"]\nheaders = {}', /:3:1: "hook\.headers": a command has no headers/],
    ['[[hook]]\ncommand = "mpc update"', /:2:1: "hook\.command" cannot be .*\["mpc", "update"\]/],
    ["[[hook]]\ncommand = []", /:2:1: "hook\.command" cannot be /],
    ['[[hook]]\ncommand = ["a\\u0000"]', /:2:1: "hook\.command" cannot be /],
    ['[[hook]]\nurl = "ftp://u:hidden@a/b"', /:2:1: "hook\.url" will not do: write http:/],
    ['[[hook]]\nurl = "hidden"', /:2:1: "hook\.url" will not do: write http:/],
    [`[[hook]]\n${url}\nmethod = "PUT"`, /:3:1: "hook\.method" cannot be "PUT": write one of GET/],
    [`[[hook]]\n${url}\nheaders = { "a b" = "hidden" }`, /:3:1: "hook\.headers".* as HTTP/],
    [`[[hook]]\n${url}\nheaders = { a = 1 }`, /:3:13: "hook\.headers\.a" will not do/],
    [`[[hook]]\n${url}\ntimeout = 0`, /:3:1: "hook\.timeout" cannot be 0: write a duration/],
    [`[[hook]]\n${url}\nmin_interval = "soon"`, /:3:1: "hook\.min_interval" cannot be "soon"/],
    [`[[hook]]\n${url}\nquiet = 1`, /:3:1: unknown key "hook\.quiet"/],
    ["hook = 1", /:1:1: "hook" cannot be 1: write \[\[hook\]\]/],
  ];
  for (const [toml, message] of cases) {
    const said = refusal({ files: { [HOME_FILE]: toml } });
    assert.match(said, message, toml);
    assert(!said.includes("hidden"), said);
  }
});

Deno.test("resolveConfig() names the flag, the variable and the file that are wrong", () => {
  const cases: [Given, RegExp][] = [
    [{ flags: { max_size: "lots" } }, /^--max-size cannot be "lots": write a size/],
    [{ env: { MUSICFS_READ_TIMEOUT: "soon" } }, /^MUSICFS_READ_TIMEOUT cannot be "soon"/],
    [{ env: { MUSICFS_CACHE: "yes" }, flags: { cache: "on" } }, /^MUSICFS_CACHE cannot be "yes"/],
    [{ flags: { uid: "root" } }, /^--uid cannot be "root"/],
    [{ config: "/none.toml" }, /\/none\.toml: there is no such file/],
    [{ flags: { cache: "off", no_passthrough: true } }, /--no-passthrough means --cache on/],
    [{ origins: ["http://x/y"] }, /http:\/\/x\/y.*write a path/],
    [{ origins: ["/a", "/a/"] }, /Two origins are called "\/a"/],
    [{ origins: ["sftp://a@nas/m", "sftp://b@nas/m"] }, /Two origins are called "sftp:\/\/nas\/m"/],
    [{ origins: ["s3://"] }, /^--origin: .*s3:\/\/.*bucket/],
    [{ env: { MUSICFS_ORIGIN: "/a s3://b?regio=x" } }, /^MUSICFS_ORIGIN: .*s3:\/\/b.*"regio"/],
    [{ origins: ["sftp://nas"] }, /^--origin: .*sftp:\/\/nas.*names no folder/],
    [
      { files: { [HOME_FILE]: '[[origin]]\nurl = "sftp://nas/m?known_host=f"' } },
      /^\/home\/ann\/.*config\.toml: .*sftp:\/\/nas\/m.*"known_host"/,
    ],
    [{ flags: { bwlimit: "fast" } }, /^--bwlimit cannot be "fast": write a rate like "10M"/],
    [{ origins: [""] }, /it is empty/],
    [{ origins: ["file://host/x"] }, /write file:\/\/\/absolute\/path/],
  ];
  for (const [given, message] of cases) assert.match(refusal(given), message);
});

Deno.test("resolveConfig() shows no secret of an origin it refuses", () => {
  const urls = [
    "sftp://ann:s3cr3t@nas/music?password=s3cr3t",
    "sftp://ann:s3cr3t/s3cr3t@nas/music",
    "sftp://ann:s3cr3t@nas:port/music",
    "s3://key:s3cr3t@music",
    "s3://music?endpoint=https://key:s3cr3t@host",
    "http://ann:s3cr3t@nas/music",
  ];
  for (const url of urls) {
    assert.doesNotMatch(refusal({ origins: [url] }), /s3cr3t/i);
    assert.doesNotMatch(refusal({ env: { MUSICFS_ORIGIN: url } }), /s3cr3t/i);
    const files = { [HOME_FILE]: `[[origin]]\nurl = "${url}"` };
    assert.doesNotMatch(refusal({ files }), /s3cr3t/i);
  }
});

Deno.test("resolveConfig() knows remote origins by their URL without credentials and options", () => {
  const origins = [
    "sftp://ann@nas:2222/srv/music/?identity_file=~/.ssh/id&known_hosts=hosts",
    "s3://music/cds/?endpoint=http://127.0.0.1:9000&region=eu-1",
  ];
  assert.deepEqual(resolve({ origins }).origins, [
    { name: "sftp://nas:2222/srv/music", url: origins[0], priority: 0 },
    { name: "s3://music/cds", url: origins[1], priority: 1 },
  ]);
  const env = { MUSICFS_ORIGIN: origins.join(" ") };
  assert.deepEqual(resolve({ env }).origins, resolve({ origins }).origins);
});

Deno.test("resolveConfig() tells buckets of one name at two endpoints apart", () => {
  const origins = [
    "s3://music?endpoint=http://127.0.0.1:9000",
    "s3://music?endpoint=http://127.0.0.1:9001/",
  ];
  assert.deepEqual(resolve({ origins }).origins.map(({ name }) => name), [
    "s3://music",
    "s3://music?endpoint=http://127.0.0.1:9001",
  ]);
  assert.match(refusal({ origins: [...origins, ...origins] }), /Two origins are called/);
});

Deno.test("resolveConfig() takes a bandwidth as rclone does, and off from a nearer place", () => {
  const limit = (text: string): number | undefined =>
    resolve({ flags: { bwlimit: text } }).bwlimitBytes;
  assert.equal(limit("10M"), 10 * 2 ** 20);
  assert.equal(limit("1.5MiB/s"), 1.5 * 2 ** 20);
  assert.equal(limit("512"), 512 * 1024);
  assert.equal(limit("off"), undefined);
  assert.equal(limit("0"), undefined);
  const files = { [HOME_FILE]: 'bwlimit = "10M"' };
  assert.equal(resolve({ files, env: { MUSICFS_BWLIMIT: "off" } }).bwlimitBytes, undefined);
});

Deno.test("resolveConfig() accepts every configuration that README shows", async () => {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  const shown = readme.matchAll(/```toml\n(.*?)```/gs).map(([, text = ""]) => text).toArray();
  const names = shown.map((text) =>
    resolve({ files: { [HOME_FILE]: text } }).origins.map(({ name }) => name)
  );
  assert.deepEqual(names, [["nas"], ["server", "bucket"], []]);
});
