import { MusicfsError } from "../base/errors.ts";
import type { OpenedOrigin, OpenOptions, OriginAddress } from "./open.ts";
import { parseS3Url } from "./s3_url.ts";

/** Placeholder: its helper writes it. */
export class S3Origin {
  static open({ name, url }: OriginAddress, _options: OpenOptions): OpenedOrigin {
    parseS3Url(url);
    throw new MusicfsError("invalid", `Cannot use origin "${name}": not written yet`, {
      op: "origin.open",
      subject: name,
    });
  }
}
