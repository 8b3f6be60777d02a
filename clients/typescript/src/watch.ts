import type { Client } from "@connectrpc/connect";

import { WingmanError } from "./errors.js";
import type { MatchEvent } from "./gen/wingmanmatch/matching/v1/matching_pb.js";
import type { MatchingService } from "./gen/wingmanmatch/matching/v1/matching_service_pb.js";
import { delayBefore, system } from "./retry.js";
import type { Runtime } from "./retry.js";

const MAX_DELAY_MS = 10_000;
const IDLE_MS = 60_000;

/** Whom to watch, and from where on. */
export interface WatchRequest {
  /** Whose matches and meet-ups. */
  readonly userId: string;
  /** The last token received by an earlier watch; left out, events come from now on. */
  readonly resumeToken?: string;
}

/** How to watch. */
export interface WatchOptions {
  /** Ends the watch, and with it the iteration, without an error. */
  readonly signal?: AbortSignal;
  /** Headers of every call. */
  readonly headers?: HeadersInit;
  /** After how many milliseconds without a message a connection counts as dead; the server's heartbeats come every 20 s. */
  readonly idleTimeoutMs?: number;
}

/** Something that happened, and the token that continues after it. */
export interface WatchedEvent {
  readonly event: MatchEvent;
  /** Keep it to continue here after a restart. */
  readonly resumeToken: string;
}

/**
 * Yield what happens to a person's matches and meet-ups, for as long as it is read.
 *
 * A stream that breaks is resumed after its last message, without gap or repetition: when the server stops or cannot be
 * reached, when this reader was too slow, and when a connection fell silent. Anything else is thrown. Leaving the loop
 * ends the call.
 */
export async function* watchMatches(
  client: Client<typeof MatchingService>,
  request: WatchRequest,
  options: WatchOptions = {},
  runtime: Runtime = system,
): AsyncGenerator<WatchedEvent, void, undefined> {
  let resumeToken = request.resumeToken ?? "";
  for (let failures = 0; !options.signal?.aborted; ) {
    const stream = new Stream(options.idleTimeoutMs ?? IDLE_MS, options.signal);
    try {
      const call = { signal: stream.signal, ...(options.headers && { headers: options.headers }) };
      for await (const message of client.watchMatches({ userId: request.userId, resumeToken }, call)) {
        stream.pause();
        failures = 0;
        resumeToken = message.resumeToken;
        if (message.event !== undefined) {
          yield { event: message.event, resumeToken };
        }
        stream.expect();
      }
    } catch (thrown) {
      if (options.signal?.aborted) {
        return;
      }
      const delay = delayBeforeResumption(WingmanError.from(thrown), stream.fellSilent, ++failures, runtime);
      await runtime.sleep(delay, options.signal).catch(() => undefined);
    } finally {
      stream.end();
    }
  }
}

function delayBeforeResumption(error: WingmanError, fellSilent: boolean, failures: number, runtime: Runtime): number {
  if (fellSilent || error.reason === "READER_TOO_SLOW") {
    return 0;
  }
  const delay = delayBefore(error, failures, MAX_DELAY_MS, runtime.random);
  if (delay === undefined) {
    throw error;
  }
  return delay;
}

/** One call of the watch, given up when nothing comes for too long while somebody waits. */
class Stream {
  readonly signal: AbortSignal;
  fellSilent = false;
  readonly #controller = new AbortController();
  readonly #idleMs: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(idleMs: number, signal: AbortSignal | undefined) {
    this.#idleMs = idleMs;
    this.signal = signal ? AbortSignal.any([signal, this.#controller.signal]) : this.#controller.signal;
    this.expect();
  }

  expect(): void {
    this.#timer = setTimeout(() => {
      this.fellSilent = true;
      this.#controller.abort();
    }, this.#idleMs);
  }

  pause(): void {
    clearTimeout(this.#timer);
  }

  end(): void {
    this.pause();
    this.#controller.abort();
  }
}
