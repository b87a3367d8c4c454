import assert from "node:assert/strict";
import type { EntryEvent } from "../../src/library/library.ts";
import { requestHook, shownWebUrl, withoutSecrets } from "../../src/mount/hook_request.ts";
import { hookCall } from "./hook_rig.ts";

const EVENTS: EntryEvent[] = [
  { kind: "added", path: "A/one.flac" },
  { kind: "moved", path: "A/new", from: "B/old" },
];

const TIMES = { timeoutMs: 30_000, minIntervalMs: 0 };

interface Seen {
  method: string;
  path: string;
  headers: Headers;
  body: string;
}

/** A real server, what it was asked, and its address. */
function serve(
  answer: (seen: Seen) => Response | Promise<Response>,
): AsyncDisposable & { url: string; seen: Seen[] } {
  const seen: Seen[] = [];
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const { pathname, search } = new URL(request.url);
      const { method, headers } = request;
      const one = { method, headers, path: pathname + search, body: await request.text() };
      seen.push(one);
      return await answer(one);
    },
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  return { url, seen, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test("requestHook() posts the changes as JSON", async () => {
  await using server = serve(() => new Response("ok"));
  const headers = { "X-Token": "abc" };
  const hook = { ...TIMES, url: `${server.url}/hook?a=b`, method: "POST", headers } as const;
  assert.equal(await requestHook(hook, hookCall(EVENTS)), undefined);
  const [asked] = server.seen;
  assert.equal(`${asked?.method} ${asked?.path}`, "POST /hook?a=b");
  assert.equal(asked?.headers.get("x-token"), "abc");
  assert.equal(asked?.headers.get("content-type"), "application/json");
  assert.deepEqual(JSON.parse(asked?.body ?? ""), {
    truncated: false,
    added: 1,
    changed: 0,
    moved: 1,
    removed: 0,
    folders: ["A", "B"],
    changes: [
      { kind: "added", path: "A/one.flac" },
      { kind: "moved", path: "A/new", from: "B/old" },
    ],
  });
});

Deno.test("requestHook() asks a Subsonic server with GET, and believes what it says of itself", async () => {
  let answer = '{"subsonic-response":{"status":"ok","scanStatus":{"scanning":true}}}';
  await using server = serve(() => new Response(answer));
  const url = `${server.url}/rest/startScan?u=ann&t=26719a&s=c19b2d&f=json`;
  const hook = { ...TIMES, url, method: "GET", headers: {} } as const;
  assert.equal(await requestHook(hook, hookCall(EVENTS)), undefined);
  assert.deepEqual(server.seen.map(({ method, body }) => [method, body]), [["GET", ""]]);
  for (
    const failed of [
      '{"subsonic-response":{"status":"failed","error":{"code":40,"message":"Wrong password"}}}',
      '<subsonic-response xmlns="x" status="failed"><error code="40" message="Wrong password"/>',
    ]
  ) {
    answer = failed;
    const failure = await requestHook(hook, hookCall(EVENTS));
    assert.deepEqual(failure, { error: "the server says: Wrong password" });
  }
});

Deno.test("requestHook() says what the server refused, and follows nobody elsewhere", async () => {
  let answer = (): Response => new Response("no", { status: 401 });
  await using server = serve(() => answer());
  const hook = { ...TIMES, url: server.url, method: "POST", headers: {} } as const;
  assert.match((await requestHook(hook, hookCall(EVENTS)))?.error ?? "", /^HTTP 401/);
  answer = () => new Response(null, { status: 302, headers: { location: "/elsewhere" } });
  assert.match(
    (await requestHook(hook, hookCall(EVENTS)))?.error ?? "",
    /^HTTP 302.*not followed/,
  );
  assert.equal(server.seen.length, 2);
});

Deno.test("requestHook() gives up a server that hangs, before and in its answer", async () => {
  const hangs: ((released: Promise<void>) => Response | Promise<Response>)[] = [
    (released) => released.then(() => new Response()),
    (released) =>
      new Response(
        new ReadableStream({
          start: (controller) => {
            controller.enqueue(new Uint8Array(10));
            released.then(() => controller.close()).catch(() => undefined);
          },
        }),
      ),
  ];
  for (const answer of hangs) {
    const release = Promise.withResolvers<void>();
    await using server = serve(() => answer(release.promise));
    const hook = { ...TIMES, url: server.url, method: "POST", headers: {} } as const;
    const failure = await requestHook(hook, hookCall(EVENTS, { timeoutMs: 200 }));
    assert.deepEqual(failure, { error: "no answer within 200 ms" });
    const stop = new AbortController();
    const asking = requestHook(hook, hookCall(EVENTS, { signal: stop.signal }));
    while (server.seen.length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
    stop.abort(new Error("stopping"));
    await assert.rejects(asking, /stopping/);
    release.resolve();
  }
});

Deno.test("requestHook() shows no secret when nobody answers", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  const url = `http://ann:hidden1@127.0.0.1:${port}/hidden2?t=hidden3`;
  const failure = await requestHook(
    { ...TIMES, url, method: "GET", headers: {} },
    hookCall(EVENTS),
  );
  assert(failure !== undefined && failure.error !== "");
  assert.doesNotMatch(JSON.stringify(failure), /hidden/);
});

Deno.test("shownWebUrl() and withoutSecrets() leave the server's name", () => {
  assert.equal(
    shownWebUrl("https://a:b@nas.example:8123/api/webhook/x?y=z"),
    "https://nas.example:8123",
  );
  assert.equal(
    withoutSecrets("error sending request for url (http://u:p@h:1/x?y=z): refused, https://h2/t."),
    "error sending request for url (http://h:1): refused, https://h2.",
  );
});
