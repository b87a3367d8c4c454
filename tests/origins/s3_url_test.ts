import assert from "node:assert/strict";
import fc from "fast-check";
import { MusicfsError } from "../../src/base/errors.ts";
import { parseS3Url, type S3Address } from "../../src/origins/s3_url.ts";

const PLAIN: S3Address = {
  bucket: "music",
  prefix: "",
  endpoint: undefined,
  region: undefined,
  pathStyle: false,
  profile: undefined,
  caFile: undefined,
  anonymous: false,
};

Deno.test("parseS3Url() reads the forms of the contract", () => {
  const nas = { endpoint: "http://127.0.0.1:9000", region: "us-east-1", pathStyle: true };
  const forms: Record<string, Partial<S3Address>> = {
    "s3://music": {},
    "S3://music/": {},
    "s3://music/cds": { prefix: "cds/" },
    "s3://music//cds/old//": { prefix: "cds/old/" },
    "s3://music/my%20cds+%2B%C3%BC%2f": { prefix: "my cds++ü/" },
    "s3://music/a/../b": { prefix: "a/../b/" },
    "s3://music?region=eu-central-1": { region: "eu-central-1" },
    "s3://music?endpoint=http://127.0.0.1:9000": nas,
    "s3://music/?endpoint=http%3A%2F%2F127.0.0.1%3A9000%2F": nas,
    "s3://music?endpoint=http://127.0.0.1:9000&region=eu-1": { ...nas, region: "eu-1" },
    "s3://music?endpoint=https://s3.example.org/base/&style=virtual": {
      endpoint: "https://s3.example.org/base",
      region: "us-east-1",
    },
    "s3://music?style=path": { pathStyle: true },
    "s3://music?profile=a+b&ca_file=~/ca+1.pem": { profile: "a+b", caFile: "~/ca+1.pem" },
    "s3://music?anonymous=true&": { anonymous: true },
  };
  for (const [url, expected] of Object.entries(forms)) {
    assert.deepEqual(parseS3Url(url), { ...PLAIN, ...expected }, url);
  }
});

Deno.test("parseS3Url() refuses what it does not know by name, and shows no secret", () => {
  const refused: Record<string, RegExp> = {
    "s3://": /names no bucket/,
    "s3:///music": /names no bucket/,
    "s3://mu sic": /names no bucket/,
    "s3://AKIA:geheim@music/x": /keys do not belong into a URL/,
    "s3://music?secret_key=geheim": /"secret_key" is not one of endpoint, region, /,
    "s3://music?geheim/geheim==": /what it says behind the \? is not one of/,
    "s3://music?region=a&region=b": /region twice/,
    "s3://music?region=": /region has no value/,
    "s3://music?region=eu.geheim/": /region must be letters/,
    "s3://music?style=geheim": /style must be virtual or path/,
    "s3://music?anonymous=geheim": /anonymous must be true or false/,
    "s3://music?endpoint=geheim": /endpoint must be as http/,
    "s3://music?endpoint=ftp://geheim": /endpoint must be as http/,
    "s3://music?endpoint=http://u:geheim@nas:9000": /must not contain a user/,
    "s3://music?endpoint=http://nas:9000?x=geheim": /endpoint must be as http/,
    "s3://music/50%geheim": /its path is not percent-encoded/,
    "s3://music/%00": /contains a NUL/,
    "s3://music/a#geheim": /write "#" as %23/,
  };
  for (const [url, message] of Object.entries(refused)) {
    assert.throws(() => parseS3Url(url), (error) => {
      assert(error instanceof MusicfsError && error.code === "invalid", String(error));
      assert.match(error.message, message);
      assert(!JSON.stringify([error.message, error.subject]).includes("geheim"), error.message);
      return true;
    }, url);
  }
});

Deno.test("parseS3Url() gives back every prefix that was percent-encoded", () => {
  const part = fc.string({ unit: "binary", minLength: 1 }).filter((text) =>
    text.isWellFormed() && !/[\0/]/.test(text)
  );
  fc.assert(fc.property(fc.array(part, { minLength: 1 }), (parts) => {
    const { prefix } = parseS3Url(`s3://music/${parts.map(encodeURIComponent).join("/")}`);
    assert.equal(prefix, `${parts.join("/")}/`);
  }));
});
