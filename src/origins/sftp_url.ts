import { MusicfsError } from "../base/errors.ts";

/** Where and how an origin of this kind is reached, as its URL says; placeholder. */
export interface SftpAddress {
  url: string;
}

/** Reads a URL of this kind. Throws `invalid` if it cannot be used; never with a secret in it. */
export function parseSftpUrl(url: string): SftpAddress {
  if (url !== "") return { url };
  throw new MusicfsError("invalid", "Cannot use the origin: it is empty", {
    op: "origin.open",
    subject: "",
  });
}
