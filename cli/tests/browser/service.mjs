// A real broker and a real `mandrill-live up` on free ports, with a key of their own; gone when stopped.

import { execFileSync, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export const root = resolve(import.meta.dirname, "..", "..", "..");

/** The program under test. */
export const program =
  process.env.MANDRILL_LIVE ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug", "mandrill-live");

const key = "ExampleKey_browser-test";
// Never the address that requests go to: what is signed is what was typed into Mandrill.
const registeredUrl = "https://hooks.example.com/mandrill/in?from=browser";

export class Service {
  /** The address of the page. */
  origin;
  /** Variables with which `mandrill-live send` signs as this service expects it. */
  signing = { MANDRILL_WEBHOOK_KEYS: key, MANDRILL_WEBHOOK_URLS: registeredUrl };
  #folder = mkdtempSync(join(tmpdir(), "mandrill-live-browser-"));
  #variables;
  #broker;
  #up;

  /** `variables` come on top of its own; an empty one takes one of those away. */
  static async start(variables = {}) {
    const service = new Service();
    service.#variables = variables;
    try {
      const natsUrl = await service.#startBroker();
      await service.#prepare(natsUrl);
      await service.#startUp();
    } catch (error) {
      await service.stop();
      throw error;
    }
    return service;
  }

  async #startBroker() {
    const server =
      process.env.NATS_SERVER ??
      execFileSync("python3", [join(root, "scripts", "nats_server.py")], { encoding: "utf8" }).trim();
    const configuration = join(this.#folder, "nats.conf");
    const quoted = JSON.stringify(this.#folder);
    writeFileSync(
      configuration,
      `listen: "127.0.0.1:-1"\nports_file_dir: ${quoted}\nmax_payload: 8MB\n` +
        `jetstream { store_dir: ${quoted}, sync_interval: always }\n`,
    );
    this.#broker = new Child("nats-server", server, ["--config", configuration]);
    const suffix = `_${this.#broker.pid}.ports`; // after the name of the server's file
    return this.#broker.until("it listens", () => {
      const ports = readdirSync(this.#folder).find((name) => name.endsWith(suffix));
      return ports && firstUrl(readFileSync(join(this.#folder, ports), "utf8"));
    });
  }

  async #prepare(natsUrl) {
    const [http, admin] = await freePorts(2);
    this.origin = `http://127.0.0.1:${http}`;
    this.#variables = {
      ...withoutOurVariables(process.env),
      ...this.signing,
      HTTP_ADDR: `127.0.0.1:${http}`,
      ADMIN_ADDR: `127.0.0.1:${admin}`,
      NATS_URL: natsUrl,
      ALLOW_ANONYMOUS: "true",
      DRAIN_SECONDS: "1",
      ...this.#variables,
    };
  }

  async #startUp() {
    this.#up = new Child("mandrill-live", program, ["up"], this.#variables);
    await this.#up.until("it is ready", async () => {
      const answer = await fetch(`http://${this.#variables.ADMIN_ADDR}/readyz`).catch(() => undefined);
      return answer?.ok;
    });
  }

  /** Both services go without a word, and the broker stays. */
  async kill() {
    await this.#up.kill();
  }

  /** After `kill`, on the same ports; or instead of the running one, which ends as it should. */
  async restart() {
    await this.#up.stop();
    await this.#startUp();
  }

  /** The broker stops answering, until `thaw`. */
  freeze() {
    this.#broker.signal("SIGSTOP");
  }

  thaw() {
    this.#broker.signal("SIGCONT");
  }

  /** Posts the text of a JSON array as Mandrill does, and returns the answer's counts. */
  async post(batch) {
    const signature = createHmac("sha1", key).update(`${registeredUrl}mandrill_events${batch}`).digest("base64");
    const answer = await fetch(`${this.origin}/api/hook/`, {
      method: "POST",
      headers: { "User-Agent": "Mandrill-Webhook/1.0", "X-Mandrill-Signature": signature },
      body: new URLSearchParams({ mandrill_events: batch }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`the webhook answered ${answer.status}: ${text}`);
    return JSON.parse(text);
  }

  /** Posts what Mandrill would never sign. */
  async postBadly(batch) {
    const answer = await fetch(`${this.origin}/api/hook/`, {
      method: "POST",
      headers: { "X-Mandrill-Signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
      body: new URLSearchParams({ mandrill_events: batch }),
    });
    return answer.status;
  }

  /** The service before the broker, as in `make run`. */
  async stop() {
    if (this.#broker?.pid) this.thaw();
    await this.#up?.stop();
    await this.#broker?.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A process that does not outlive this one and whose output is shown only where something went wrong. */
class Child {
  #process;
  #output = "";
  #ended;

  constructor(name, command, args, env = process.env) {
    this.name = name;
    this.#process = spawn(command, args, { env, stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream.on("data", (data) => (this.#output += data));
    }
    this.#ended = once(this.#process, "exit").catch((error) => (this.#output += error)); // It could not be started.
    process.on("exit", this.#kill);
  }

  get pid() {
    return this.#process.pid;
  }

  #kill = () => this.#process.kill("SIGKILL");

  /** The first true answer of the check. */
  async until(what, check) {
    const deadline = Date.now() + 30_000;
    while (Date.now() < deadline && this.#isRunning()) {
      const answer = await check();
      if (answer) return answer;
      await sleep(50);
    }
    const why = this.#isRunning() ? `waited 30 seconds until ${what}` : "ended by itself";
    throw new Error(`${this.name}: ${why}. It said:\n${this.#output}`);
  }

  #isRunning() {
    return this.pid !== undefined && this.#process.exitCode === null && this.#process.signalCode === null;
  }

  signal(name) {
    this.#process.kill(name);
  }

  async kill() {
    this.#kill();
    await this.#ended;
  }

  async stop() {
    if (this.#isRunning()) {
      this.#process.kill("SIGTERM");
      const hurry = setTimeout(this.#kill, 10_000);
      await this.#ended;
      clearTimeout(hurry);
    }
    process.off("exit", this.#kill);
  }
}

/** The broker writes its ports while they are read. */
function firstUrl(ports) {
  try {
    return JSON.parse(ports).nats[0];
  } catch {
    return undefined;
  }
}

async function freePorts(count) {
  const listeners = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(listeners.map((listener) => once(listener, "listening")));
  const ports = listeners.map((listener) => listener.address().port);
  await Promise.all(listeners.map((listener) => once(listener.close(), "close")));
  return ports;
}

/** What a developer has set for `make run` must not reach the service under test: all variables that it reads. */
function withoutOurVariables(environment) {
  const example = readFileSync(join(root, ".env.example"), "utf8");
  const ours = new Set(example.match(/^#?[A-Z_]+(?==)/gm).map((name) => name.replace("#", "")));
  const isOurs = (name) => ours.has(name.replace(/_FILE$/, "")) || name.startsWith("OTEL_");
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !isOurs(name)));
}
