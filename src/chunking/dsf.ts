/** DSF: three chunks of fixed places, then perhaps ID3v2. Source: Sony, "DSF File Format" 1.01. */

import { hasText, type LayoutDraft, type Parser, viewOf } from "./layout_draft.ts";

const DATA_AT = 80;
const DATA_HEADER_BYTES = 12;

/** The samples are audio, the header before and the tag behind them metadata; false if odd. */
export function* dsfChunks(file: LayoutDraft): Parser<boolean> {
  const header = yield* file.bytes(DATA_AT, DATA_HEADER_BYTES);
  if (!header || !hasText(header, "data")) return false;
  const size = Number(viewOf(header).getBigUint64(4, true));
  file.reach("metadata", DATA_AT + DATA_HEADER_BYTES);
  file.reach("audio", DATA_AT + size);
  file.reach("metadata", file.size);
  return true;
}
