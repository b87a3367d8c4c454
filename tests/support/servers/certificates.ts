/** Certificates for servers of the tests, made with openssl. */

import { join } from "node:path";
import { output } from "../process.ts";

export interface Certificate {
  /** PEM. */
  certificate: string;
  key: string;
}

/** An authority of the tests' own, which clients trust by its file. */
export class Authority {
  readonly #dir: string;

  private constructor(dir: string) {
    this.#dir = dir;
  }

  /** Makes one in `dir`, which must exist. */
  static async make(dir: string): Promise<Authority> {
    const words = ["req", "-x509", ...KEY, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2"];
    await output("openssl", [...words, "-subj", "/CN=musicfs test authority"], { cwd: dir });
    return new Authority(dir);
  }

  /** The file clients need. */
  get file(): string {
    return join(this.#dir, "ca.crt");
  }

  /** Signs a certificate for 127.0.0.1; `days` below 0 is one that has expired. */
  async sign({ days }: { days: number }): Promise<Certificate> {
    const cwd = this.#dir;
    await Deno.writeTextFile(join(cwd, "names"), "subjectAltName=IP:127.0.0.1\n");
    const request = ["req", ...KEY, "-keyout", "server.key", "-out", "server.csr"];
    await output("openssl", [...request, "-subj", "/CN=127.0.0.1"], { cwd });
    const sign = ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key"];
    sign.push("-CAcreateserial", "-days", `${days}`, "-extfile", "names", "-out", "server.crt");
    await output("openssl", sign, { cwd });
    return {
      certificate: await Deno.readTextFile(join(cwd, "server.crt")),
      key: await Deno.readTextFile(join(cwd, "server.key")),
    };
  }
}

const KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
