import assert from "node:assert/strict";
import { MusicfsError } from "../../src/base/errors.ts";
import type { Log, LogFields } from "../../src/base/log.ts";
import type { OriginFile } from "../../src/origins/origin.ts";
import { FaultyOrigin } from "../support/faults.ts";
import { MemoryOrigin } from "../support/memory_origin.ts";
import { VirtualClock } from "../support/virtual_clock.ts";

/** Bytes that tell where they came from. */
export const song = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

/** A signal that never ends. */
export const never = new AbortController().signal;

/** One origin with one song, whose calls can be made to fail. */
export interface Faulty {
  memory: MemoryOrigin;
  origin: FaultyOrigin;
  file: OriginFile;
}

export function faulty(name: string, clock = new VirtualClock()): Faulty {
  const memory = new MemoryOrigin(name);
  const file = memory.put("song", song);
  return { memory, file, origin: new FaultyOrigin(memory, { clock }) };
}

export async function rejects(call: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(call, (error) => {
    assert(error instanceof MusicfsError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

/** Moves the clock on in small steps, as real time does; what has begun has its turn first. */
export async function pass(clock: VirtualClock, ms: number, stepMs = 100): Promise<void> {
  await clock.settle();
  for (let at = 0; at < ms; at += stepMs) await clock.advance(Math.min(stepMs, ms - at));
}

/** Whether a promise has settled. */
export function watchSettled(promise: Promise<unknown>): { isSettled: boolean } {
  const state = { isSettled: false };
  const settle = (): void => void (state.isSettled = true);
  promise.then(settle, settle);
  return state;
}

/** A log that keeps its lines as `level: message`. */
export function keptLog(): { log: Log; lines: string[]; fields: LogFields[] } {
  const lines: string[] = [];
  const fields: LogFields[] = [];
  const at = (level: string) => (message: string, more: LogFields = {}): void => {
    lines.push(`${level}: ${message}`);
    fields.push(more);
  };
  const log = { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") };
  return { log, lines, fields };
}
