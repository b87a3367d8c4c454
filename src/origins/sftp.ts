import { MusicfsError } from "../base/errors.ts";
import type { OpenedOrigin, OpenOptions, OriginAddress } from "./open.ts";
import { parseSftpUrl } from "./sftp_url.ts";

/** Placeholder: its helper writes it. */
export class SftpOrigin {
  static open({ name, url }: OriginAddress, _options: OpenOptions): OpenedOrigin {
    parseSftpUrl(url);
    throw new MusicfsError("invalid", `Cannot use origin "${name}": not written yet`, {
      op: "origin.open",
      subject: name,
    });
  }
}
