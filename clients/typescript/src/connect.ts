import type { Client, Interceptor, Transport } from "@connectrpc/connect";
import { Http2SessionManager, createGrpcTransport } from "@connectrpc/connect-node";

import { clientOf } from "./client.js";
import { ChallengeService } from "./gen/wingmanmatch/challenge/v1/challenge_service_pb.js";
import { CoachingService } from "./gen/wingmanmatch/coaching/v1/coaching_service_pb.js";
import { MatchingService } from "./gen/wingmanmatch/matching/v1/matching_service_pb.js";
import { MeetupService } from "./gen/wingmanmatch/meetup/v1/meetup_service_pb.js";
import { NotificationService } from "./gen/wingmanmatch/notification/v1/notification_service_pb.js";
import { RateLimitService } from "./gen/wingmanmatch/ratelimit/v1/rate_limit_service_pb.js";
import { SessionService } from "./gen/wingmanmatch/session/v1/session_service_pb.js";
import { SystemService } from "./gen/wingmanmatch/system/v1/system_service_pb.js";
import { withConnectionsForStreams } from "./streams.js";
import { obliging } from "./transport.js";
import { watchMatches } from "./watch.js";
import type { WatchOptions, WatchRequest, WatchedEvent } from "./watch.js";

const MAX_ATTEMPTS = 4;
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[::1\])$/;

/** PEM texts, as read from files. */
export interface TlsOptions {
  /** The authority of the server's certificate; left out, those that Node trusts. */
  readonly ca?: string | Uint8Array;
  /** The certificate shown to a server that asks for one, with `key`. */
  readonly cert?: string | Uint8Array;
  /** The key of `cert`. */
  readonly key?: string | Uint8Array;
}

/** How to connect. */
export interface ConnectOptions {
  /** The key of this back end, or what returns it, asked for every call. A call's own `authorization` header wins. */
  readonly apiKey?: string | (() => string | Promise<string>);
  /** Whether to use TLS, and with which certificates; left out, an address says so, and `HOST:PORT` means TLS to others. */
  readonly tls?: boolean | TlsOptions;
  /** How often a call is tried at most; 1 means that nothing is repeated. */
  readonly maxAttempts?: number;
}

/** A client for each service of a server. */
export interface Wingman {
  readonly challenge: Client<typeof ChallengeService>;
  readonly coaching: Client<typeof CoachingService>;
  readonly matching: Client<typeof MatchingService>;
  readonly meetup: Client<typeof MeetupService>;
  readonly notification: Client<typeof NotificationService>;
  readonly rateLimit: Client<typeof RateLimitService>;
  readonly session: Client<typeof SessionService>;
  readonly system: Client<typeof SystemService>;
  /** Yield what happens to a person's matches and meet-ups, across restarts of the server. */
  watchMatches(request: WatchRequest, options?: WatchOptions): AsyncGenerator<WatchedEvent, void, undefined>;
  /** Close the connections; calls under way fail. */
  close(): void;
}

/**
 * Return a client of the server at `target`: `HOST:PORT`, or an `http` or `https` address. Connects on the first call.
 *
 * TLS is used to other machines, unless `tls` is false or the address begins with `http`; a key goes there without TLS only
 * where `tls` is false, and a TypeError is thrown otherwise.
 */
export function connect(target: string, options: ConnectOptions = {}): Wingman {
  const url = originOf(target, options);
  const tls = typeof options.tls === "object" ? options.tls : {};
  const sessions: Http2SessionManager[] = [];
  const open = (): Transport => {
    const session = new Http2SessionManager(url, {}, tls as { ca?: string; cert?: string; key?: string });
    sessions.push(session);
    return createGrpcTransport({ baseUrl: url, sessionManager: session, interceptors: interceptorsOf(options) });
  };
  const transport = obliging(withConnectionsForStreams(open), options.maxAttempts ?? MAX_ATTEMPTS);
  const matching = clientOf(MatchingService, transport);
  return {
    challenge: clientOf(ChallengeService, transport),
    coaching: clientOf(CoachingService, transport),
    matching,
    meetup: clientOf(MeetupService, transport),
    notification: clientOf(NotificationService, transport),
    rateLimit: clientOf(RateLimitService, transport),
    session: clientOf(SessionService, transport),
    system: clientOf(SystemService, transport),
    watchMatches: (request, watchOptions) => watchMatches(matching, request, watchOptions),
    close: () => {
      sessions.forEach((session) => {
        session.abort();
      });
    },
  };
}

/** The origin of a target. Throws a TypeError where the options say otherwise, or would send a key for all to read. */
export function originOf(target: string, { apiKey, tls }: Pick<ConnectOptions, "apiKey" | "tls">): string {
  const whole = target.includes("://");
  const local = LOOPBACK.test(new URL(whole ? target : `http://${target}`).hostname);
  const url = new URL(whole ? target : `${(tls ?? !local) ? "https" : "http"}://${target}`);
  const secure = url.protocol === "https:";
  if ((!secure && url.protocol !== "http:") || (tls !== undefined && Boolean(tls) !== secure)) {
    throw new TypeError(`${url.protocol}// does not go with tls: ${String(Boolean(tls))}`);
  }
  if (!secure && apiKey !== undefined && tls === undefined && !local) {
    throw new TypeError("an API key would be sent without TLS; say tls: false if the network is trusted");
  }
  return url.origin;
}

function interceptorsOf({ apiKey }: ConnectOptions): Interceptor[] {
  if (apiKey === undefined) {
    return [];
  }
  return [
    (next) => async (request) => {
      if (!request.header.has("authorization")) {
        request.header.set("authorization", `Bearer ${typeof apiKey === "string" ? apiKey : await apiKey()}`);
      }
      return next(request);
    },
  ];
}
