import { Code, ConnectError } from "@connectrpc/connect";
import { durationMs } from "@bufbuild/protobuf/wkt";

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/wingmanmatch/error/v1/error_reason_pb.js";

// What the transport calls a connection that broke: the server's own errors have a reason, and nobody cancelled.
const LOST: readonly Code[] = [Code.Aborted, Code.Canceled];

/** Why a call failed, as `wingmanmatch.error.v1.ErrorReason` names it. */
export type Reason = keyof typeof ErrorReason;

/** A rule that a field of the request breaks. */
export interface FieldViolation {
  /** The path of the field, with the names of the protos, such as `profile.first_name`. */
  readonly field: string;
  /** What is wrong, for people. */
  readonly description: string;
  /** The rule, such as `string.uuid`. */
  readonly rule: string;
}

/** A failed call. Nothing else is thrown by calls. */
export class WingmanError extends Error {
  override readonly name = "WingmanError";

  private constructor(
    message: string,
    /** The gRPC status code. */
    readonly code: Code,
    /** Why; undefined where the answer did not come from WingmanMatch, as when no connection could be made. */
    readonly reason: Reason | undefined,
    /** What the reason speaks of, such as `match_id`. */
    readonly metadata: Readonly<Record<string, string>>,
    /** The rules that fields break; empty unless `reason` is FIELD_INVALID. */
    readonly fieldViolations: readonly FieldViolation[],
    /** After how many milliseconds a repetition makes sense; undefined where the server does not say. */
    readonly retryAfterMs: number | undefined,
    /** What the request was sent with: the same call with the same id is safe to repeat, and tells whether it happened. */
    readonly requestId: string | undefined,
    /** The answer's headers and trailers. */
    readonly headers: Headers,
    cause: unknown,
  ) {
    super(message, { cause });
  }

  /** Return what a call threw as a WingmanError; `signal` is that of the caller, `requestId` what it was sent with. */
  static from(thrown: unknown, signal?: AbortSignal, requestId?: string): WingmanError {
    if (thrown instanceof WingmanError) {
      return thrown;
    }
    const error = ConnectError.from(thrown);
    const info = error.findDetails(ErrorInfoSchema)[0];
    const reason = info === undefined ? undefined : (info.reason as Reason);
    const lost = reason === undefined && !signal?.aborted && LOST.includes(error.code);
    const code = lost ? Code.Unavailable : error.code;
    return new WingmanError(
      `${reason ?? Code[code]}: ${error.rawMessage}`,
      code,
      reason,
      info?.metadata ?? {},
      violationsOf(error),
      retryAfterOf(error),
      requestId,
      error.metadata,
      error,
    );
  }
}

function violationsOf(error: ConnectError): FieldViolation[] {
  return error
    .findDetails(BadRequestSchema)
    .flatMap((detail) => detail.fieldViolations)
    .map(({ field, description, reason }) => ({ field, description, rule: reason }));
}

function retryAfterOf(error: ConnectError): number | undefined {
  const delay = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return delay === undefined ? undefined : durationMs(delay);
}
