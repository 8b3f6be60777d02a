import { setTimeout as sleep } from "node:timers/promises";

import { Code } from "@connectrpc/connect";

import type { WingmanError } from "./errors.js";

const INITIAL_MS = 100;
const FACTOR = 2;

/** Time and chance, as retries need them. */
export interface Runtime {
  /** Milliseconds on a clock that never goes back. */
  now(): number;
  /** From 0 up to 1. */
  random(): number;
  /** Wait; rejects as soon as the signal says so. */
  sleep(ms: number, signal: AbortSignal | undefined): Promise<void>;
}

/** The machine's own. */
export const system: Runtime = {
  now: () => performance.now(),
  random: () => Math.random(),
  sleep: async (ms, signal) => {
    await sleep(ms, undefined, signal === undefined ? {} : { signal });
  },
};

/**
 * How long to wait before the next attempt, in milliseconds, or undefined where there should be none.
 *
 * The server's pushback decides where it sent one: so long, or not at all where it is negative or no number. Otherwise
 * any time below a bound that doubles with every attempt, up to `maxMs`, after what the server's RetryInfo asks for.
 */
export function delayBefore(error: WingmanError, attempt: number, maxMs: number, random: () => number): number | undefined {
  if (error.code !== Code.Unavailable) {
    return undefined;
  }
  const pushback = error.headers.get("grpc-retry-pushback-ms");
  if (pushback !== null) {
    return /^\d+$/.test(pushback) ? Number(pushback) : undefined;
  }
  return (error.retryAfterMs ?? 0) + random() * Math.min(maxMs, INITIAL_MS * FACTOR ** (attempt - 1));
}
