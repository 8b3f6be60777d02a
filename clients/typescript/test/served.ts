import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

// From build/test, where this runs.
const BIN = process.env["WINGMANMATCH_BIN"] ?? resolve(import.meta.dirname, "../../../../.venv/bin");

/** A server as `wingmanmatch serve` starts it, with its own engines. */
export class Served {
  private constructor(
    readonly address: string,
    private readonly process: ChildProcess,
  ) {}

  /** Start one on free ports, and return once it answers. */
  static async start(dataDir: string, settings: Record<string, string> = {}): Promise<Served> {
    const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], DATA_DIR: dataDir };
    const ports = { GRPC_LISTEN: "127.0.0.1:0", HTTP_LISTEN: "127.0.0.1:0", ADMIN_LISTEN: "127.0.0.1:0" };
    const child = spawn(join(BIN, "wingmanmatch"), ["serve"], {
      env: { ...env, ...ports, ...settings },
      stdio: ["ignore", "pipe", "ignore"],
    });
    let address = "";
    for await (const line of createInterface({ input: child.stdout })) {
      address ||= /^ +gRPC +(\S+)$/.exec(line)?.[1] ?? "";
      if (line.startsWith("Ctrl-C")) {
        return new Served(address, child);
      }
    }
    throw new Error("the server did not start");
  }

  /** End it, and wait until it is gone. */
  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<void> {
    const gone = once(this.process, "exit");
    this.process.kill(signal);
    await gone;
  }
}

/** A folder that is removed at the end. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "wingmanmatch-"));
  process.on("exit", () => { rmSync(folder, { recursive: true, force: true }); });
  return folder;
}

/** The files of a certificate for localhost and of its authority, made anew. */
export function certificate(folder: string): { ca: string; certFile: string; keyFile: string } {
  run("python", "-m", "trustme", "-q", "-d", folder, "-i", "localhost", "127.0.0.1");
  const ca = readFileSync(join(folder, "client.pem"), "utf8");
  return { ca, certFile: join(folder, "server.pem"), keyFile: join(folder, "server.key") };
}

/** A new API key, and the entry by which a server knows it. */
export function createKey(name: string, scope: string): { key: string; entry: string } {
  const said = run("wingmanmatch", "keys", "create", name, "--scope", scope);
  const [key, entry] = said.split("\n").filter((line) => line.startsWith("  ")).map((line) => line.trim());
  if (key === undefined || entry === undefined) {
    throw new Error(said);
  }
  return { key, entry };
}

function run(program: string, ...parameters: string[]): string {
  const { status, stdout, stderr } = spawnSync(join(BIN, program), parameters, { encoding: "utf8" });
  if (status !== 0) {
    throw new Error(stderr);
  }
  return stdout;
}
