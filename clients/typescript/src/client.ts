import type { DescService } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import type { CallOptions, Client, Transport } from "@connectrpc/connect";

type Streaming = (request: object, options?: CallOptions) => AsyncIterable<object>;

/**
 * Return a client of a service whose streams end when the loop that reads them is left.
 *
 * Connect's own go on until their end or their deadline, unless a signal is aborted. A stream is called when it is first
 * read.
 */
export function clientOf<Service extends DescService>(service: Service, transport: Transport): Client<Service> {
  const client = createClient(service, transport);
  const calls = client as Record<string, unknown>;
  for (const { localName, methodKind } of service.methods) {
    if (methodKind === "server_streaming") {
      calls[localName] = endingWithItsLoop(calls[localName] as Streaming);
    }
  }
  return client;
}

function endingWithItsLoop(call: Streaming): Streaming {
  return async function* (request, options = {}) {
    const left = new AbortController();
    const signal = options.signal ? AbortSignal.any([options.signal, left.signal]) : left.signal;
    const answers = call(request, { ...options, signal })[Symbol.asyncIterator]();
    try {
      for (let next = await answers.next(); !next.done; next = await answers.next()) {
        yield next.value;
      }
    } finally {
      left.abort();
      void readToEnd(answers);
    }
  };
}

/** Let Connect see the end of an aborted call: until then it keeps the timer of the deadline, and with it the process. */
async function readToEnd(answers: AsyncIterator<object>): Promise<void> {
  try {
    while (!(await answers.next()).done);
  } catch {
    // That it was aborted is what was wanted.
  }
}
