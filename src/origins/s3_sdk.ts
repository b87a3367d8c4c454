/** How the SDK's client is set up. Every setting is given that it would look for in files. */

import { S3Client as Sdk } from "@aws-sdk/client-s3";
import type { Clock } from "../base/clock.ts";
import { MusicfsError } from "../base/errors.ts";
import type { Chain, Identity } from "./s3_credentials.ts";
import type { S3Fetch } from "./s3_fetch.ts";
import type { S3Address } from "./s3_url.ts";

/** Where AWS is asked when neither URL, environment nor shared files name a region. */
const REGION_DEFAULT = "us-east-1";

/** What a client signs for, and how it sends. */
export interface SdkOptions {
  address: S3Address;
  region: string;
  /** Undefined for a public bucket, whose requests are not signed. */
  identity: Identity | undefined;
  fetch: S3Fetch;
  clock: Clock;
}

/** A client with one identity for good: it keeps what it was given. */
export function sdkFor({ address, region, identity, fetch, clock }: SdkOptions): Sdk {
  const { endpoint, pathStyle } = address;
  const { accessKeyId = "", secretAccessKey = "", sessionToken } = identity ?? {};
  const sdk = new Sdk({
    ...SETTINGS,
    region,
    forcePathStyle: pathStyle,
    ...(endpoint === undefined ? {} : { endpoint }),
    // Without their end, which would make the SDK look for others.
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken ? { sessionToken } : {}) },
    requestHandler: fetch,
  });
  const { config } = sdk;
  const find = config.signer;
  let signer: ReturnType<typeof find> | undefined;
  config.signer = async (scheme) => {
    if (!identity) return { sign: (request) => Promise.resolve(request) };
    const { sign } = await (signer ??= find(scheme).then(bound));
    return {
      sign: (request, options) => sign(request, { ...options, signingDate: new Date(clock.now()) }),
    };
  };
  return sdk;
}

/** The region of the URL, else of the environment, else of the shared files. */
export async function regionFor(
  { region, profile }: S3Address,
  env: (name: string) => string | undefined,
): Promise<string> {
  const known = region ?? (env("AWS_REGION") || env("AWS_DEFAULT_REGION"));
  if (known) return known;
  try {
    return await new Sdk(profile === undefined ? {} : { profile }).config.region();
  } catch (error) {
    if (error instanceof Error) return REGION_DEFAULT;
    throw error;
  }
}

/** The SDK's chain of credentials. Throws `invalid` for an address that is none. */
export function chainFor(
  { bucket, endpoint, pathStyle, region = REGION_DEFAULT }: S3Address,
): Chain {
  const { config } = new Sdk({ ...SETTINGS, region });
  try {
    const found = config.endpointProvider({
      Bucket: bucket,
      Region: region,
      ForcePathStyle: pathStyle,
      UseFIPS: false,
      UseDualStack: false,
      Accelerate: false,
      UseGlobalEndpoint: false,
      DisableMultiRegionAccessPoints: true,
      ...(endpoint === undefined ? {} : { Endpoint: endpoint }),
    });
    if (!JSON.stringify(found.properties).includes('"sigv4"')) throw new Error("not SigV4");
    return config.credentialDefaultProvider;
  } catch (cause) {
    const shown = `s3://${bucket}`;
    throw new MusicfsError(
      "invalid",
      `Cannot use the origin ${shown}: bucket, region and endpoint make no address; check them`,
      { op: "origin.open", subject: shown, cause },
    );
  }
}

const SETTINGS = {
  maxAttempts: 1,
  retryMode: "standard",
  defaultsMode: "standard",
  requestChecksumCalculation: "WHEN_REQUIRED",
  responseChecksumValidation: "WHEN_REQUIRED",
  authSchemePreference: [],
  sigv4aSigningRegionSet: [],
  disableMultiregionAccessPoints: true,
  disableS3ExpressSessionAuth: true,
  useArnRegion: false,
  useDualstackEndpoint: false,
  useFipsEndpoint: false,
  userAgentAppId: "musicfs",
} satisfies ConstructorParameters<typeof Sdk>[0];

type Signer = Awaited<ReturnType<Sdk["config"]["signer"]>>;

function bound(signer: Signer): Signer {
  return { sign: signer.sign.bind(signer) };
}
