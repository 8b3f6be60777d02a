import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import type { StreamResponse, Transport } from "@connectrpc/connect";

/**
 * How many streams a connection has: a server takes a hundred and lets further ones wait without a word, and a stream that
 * was ended here may not have ended there yet.
 */
export const MOST_STREAMS = 90;

interface Connection {
  readonly transport: Transport;
  streams: number;
}

/**
 * A transport whose calls share one connection, and whose streams have others, as many as they need: no number of streams
 * makes a call wait. `open` opens a connection.
 */
export function withConnectionsForStreams(open: () => Transport): Transport {
  const forStreams: Connection[] = [];
  const forCalls = open();
  return {
    unary: (...call) => forCalls.unary(...call),
    async stream(...call) {
      let connection = forStreams.find(({ streams }) => streams < MOST_STREAMS);
      if (connection === undefined) {
        connection = { transport: open(), streams: 0 };
        forStreams.push(connection);
      }
      connection.streams++;
      try {
        const response = await connection.transport.stream(...call);
        return { ...response, message: counted(response, connection) };
      } catch (thrown) {
        connection.streams--;
        throw thrown;
      }
    },
  };
}

async function* counted<O extends DescMessage>(
  response: StreamResponse<DescMessage, O>,
  connection: Connection,
): AsyncGenerator<MessageShape<O>> {
  try {
    yield* response.message;
  } finally {
    connection.streams--;
  }
}
