import { randomUUID } from "node:crypto";

import { clone, create, getOption, hasOption, isMessage } from "@bufbuild/protobuf";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import { MethodOptions_IdempotencyLevel as Idempotency, durationMs } from "@bufbuild/protobuf/wkt";
import type { StreamResponse, Transport } from "@connectrpc/connect";

import { WingmanError } from "./errors.js";
import { policy } from "./gen/wingmanmatch/options/v1/options_pb.js";
import { delayBefore, system } from "./retry.js";
import type { Runtime } from "./retry.js";

const MAX_DELAY_MS = 2000;

/**
 * A transport that gives calls what the protos say of them.
 *
 * - A call without a deadline gets the one of its method's policy; a `timeoutMs` of 0 or less means none.
 * - An empty `request_id` is filled once, so that repetitions are one call to the server.
 * - A unary call that may be repeated is, while the server is UNAVAILABLE, up to `maxAttempts` times within its deadline.
 * - What is thrown is a WingmanError.
 */
export function obliging(inner: Transport, maxAttempts: number, runtime: Runtime = system): Transport {
  return {
    async unary(method, signal, timeoutMs, header, input, contextValues) {
      const { message, requestId } = withRequestId(method.input, input);
      const end = runtime.now() + deadlineOf(method, timeoutMs);
      for (let attempt = 1; ; attempt++) {
        try {
          const left = end === Infinity ? 0 : Math.max(1, Math.ceil(end - runtime.now()));
          return await inner.unary(method, signal, left, header, message, contextValues);
        } catch (thrown) {
          const error = WingmanError.from(thrown, signal, requestId);
          const delay = isRepeatable(method) ? delayBefore(error, attempt, MAX_DELAY_MS, runtime.random) : undefined;
          if (delay === undefined || attempt >= maxAttempts || runtime.now() + delay >= end) {
            throw error;
          }
          await runtime.sleep(delay, signal).catch((aborted: unknown) => {
            throw WingmanError.from(aborted, signal, requestId);
          });
        }
      }
    },
    async stream(method, signal, timeoutMs, header, input, contextValues) {
      const deadline = deadlineOf(method, timeoutMs);
      try {
        const left = deadline === Infinity ? 0 : deadline;
        const response = await inner.stream(method, signal, left, header, input, contextValues);
        return { ...response, message: messagesOf(response, signal) };
      } catch (thrown) {
        throw WingmanError.from(thrown, signal);
      }
    },
  };
}

function deadlineOf(method: DescMethod, timeoutMs: number | undefined): number {
  if (timeoutMs !== undefined) {
    return timeoutMs > 0 ? timeoutMs : Infinity;
  }
  const deadline = hasOption(method, policy) ? getOption(method, policy).defaultDeadline : undefined;
  return deadline === undefined ? Infinity : durationMs(deadline);
}

function isRepeatable(method: DescMethod): boolean {
  return method.idempotency !== Idempotency.IDEMPOTENCY_UNKNOWN;
}

/** The message as it is sent each time, and its id if it has one; the caller's own message is left alone. */
function withRequestId<Desc extends DescMessage>(
  schema: Desc,
  input: MessageInitShape<Desc>,
): { message: MessageShape<Desc>; requestId: string | undefined } {
  const message = isMessage(input, schema) ? clone(schema, input) : create(schema, input);
  const field = schema.fields.find(({ name }) => name === "request_id");
  if (field?.fieldKind !== "scalar") {
    return { message, requestId: undefined };
  }
  const fields = reflect(schema, message);
  if (!fields.isSet(field)) {
    fields.set(field, randomUUID());
  }
  return { message, requestId: String(fields.get(field)) };
}

async function* messagesOf<O extends DescMessage>(
  response: StreamResponse<DescMessage, O>,
  signal: AbortSignal | undefined,
): AsyncGenerator<MessageShape<O>> {
  try {
    yield* response.message;
  } catch (thrown) {
    throw WingmanError.from(thrown, signal);
  }
}
