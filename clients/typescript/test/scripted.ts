import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";

import type { Client, ConnectRouter } from "@connectrpc/connect";
import { Http2SessionManager, connectNodeAdapter, createGrpcTransport } from "@connectrpc/connect-node";

import { clientOf } from "../src/client.js";
import { MatchingService } from "../src/matching.js";
import type { Runtime } from "../src/retry.js";
import { obliging } from "../src/transport.js";

/** A gRPC server on a loopback port that answers as a test tells it. */
export interface Scripted {
  readonly address: string;
  close(): Promise<void>;
}

export async function serving(routes: (router: ConnectRouter) => unknown): Promise<Scripted> {
  const server = createServer(connectNodeAdapter({ routes: (router) => void routes(router) }));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    close: () => new Promise((resolve) => server.close(() => { resolve(); })),
  };
}

/** Time that passes only where somebody waits. */
export class Held implements Runtime {
  time = 0;
  readonly waits: number[] = [];

  now(): number {
    return this.time;
  }

  random(): number {
    return 0.5;
  }

  sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
    this.waits.push(ms);
    this.time += ms;
    return signal?.aborted ? Promise.reject(signal.reason as Error) : Promise.resolve();
  }
}

/** Run a test with a client of a scripted server, under a clock that it holds. */
export async function withClient(
  routes: (router: ConnectRouter) => unknown,
  test: (client: Client<typeof MatchingService>, runtime: Held) => Promise<void>,
): Promise<void> {
  const server = await serving(routes);
  const sessions = new Http2SessionManager(server.address);
  const runtime = new Held();
  try {
    const transport = createGrpcTransport({ baseUrl: server.address, sessionManager: sessions });
    await test(clientOf(MatchingService, obliging(transport, 4, runtime)), runtime);
  } finally {
    sessions.abort();
    await server.close();
  }
}
