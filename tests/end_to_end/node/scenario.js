// What the test has the client do. Usage: node scenario.js NAME '{"port": ..., "ca": ..., "cert": ..., "key": ...}'
// The last line on stdout is the result, as JSON.

import { readFileSync } from "node:fs";
import { Client, message, ownRef } from "./client.js";
import { Matrix } from "./frames.js";

const [name, settings] = [process.argv[2], JSON.parse(process.argv[3])];
const secrets = settings.ca && {
  ca: readFileSync(settings.ca),
  cert: readFileSync(settings.cert),
  key: readFileSync(settings.key),
};
const connect = (more = {}) => Client.connect({ port: settings.port, secrets, ...more });
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const numbered = (rows, columns) =>
  new Matrix(rows, columns, Float32Array.from({ length: rows * columns }, (_, at) => at / 4));

const failure = async (asking) => {
  try {
    return { answer: await asking };
  } catch (error) {
    return { kind: error.kind, text: error.message };
  }
};

const scenarios = {
  async hello() {
    const client = await connect();
    const { protocol, system, address } = client.hello;
    await client.goodbye();
    return { protocol, system, address };
  },

  // A thousand tells are four times what may be sent before credit comes.
  async tells() {
    const client = await connect();
    for (let at = 0; at < 1000; at++) await client.tell("counter", message("node.add", at));
    const total = await client.ask("counter", message("node.total"));
    await client.goodbye();
    return total;
  },

  // The same, as many in a frame as may be.
  async tells_together() {
    const client = await connect();
    const numbers = Array.from({ length: 1000 }, (_, at) => [at]);
    await client.tellTogether("counter", "node.add", numbers);
    const total = await client.ask("counter", message("node.total"));
    await client.goodbye();
    return total;
  },

  async failures() {
    const client = await connect();
    const found = {
      nobody: await failure(client.ask("nobody", message("node.total"))),
      unknown: await failure(client.ask("counter", message("node.unheard_of"))),
      fields: await failure(client.ask("counter", message("node.add", "one"))),
      rejected: await failure(client.ask("scaler", message("node.scale", numbered(1, 1), 0))),
    };
    await client.goodbye();
    return found;
  },

  async matrix() {
    const client = await connect();
    const found = {};
    for (const [size, columns] of [["small", 3], ["large", 70000]]) { // 24 bytes, and 560,000
      const sent = numbered(2, columns);
      const item = await client.ask("scaler", message("node.scale", sent, 2), { ttl: 30 });
      const got = Matrix.of(item);
      found[size] = {
        dimensions: got.dimensions,
        doubled: got.numbers.every((number, at) => number === 2 * sent.numbers[at]),
      };
    }
    await client.goodbye();
    return found;
  },

  async pings() {
    const client = await connect();
    await sleep(1500); // more than the server bears to hear nothing
    const total = await client.ask("counter", message("node.total"));
    const { pings } = client;
    await client.goodbye();
    return { total, pings: pings > 0 };
  },

  // The server writes to an actor of the client: more than the client's window, so it waits for credit.
  async called_back(changes = {}) {
    const notes = [];
    const self = (name, [what]) => {
      if (name === "node.add") notes.push(what);
      return name === "node.total" ? notes.length : null;
    };
    const client = await connect({ actors: { self }, changes });
    const counted = await client.ask("caller", message("node.call", ownRef("self"), 100));
    await client.goodbye();
    return { counted, inOrder: notes.every((note, at) => note === at), frames: client.frames };
  },

  async called_back_together() {
    return scenarios.called_back({ tells: true });
  },

  async watched() {
    const client = await connect();
    const down = client.watch("mortal");
    await client.tell("mortal", message("node.add", 1));
    const reason = await down;
    await client.goodbye();
    return reason;
  },

  async version_of_ours() {
    const client = await failure(connect({ changes: { protocol: 2 } }));
    if (client.answer) await client.answer.ended;
    return "turned away";
  },

  async refusal() {
    return (await failure(connect())).text;
  },
};

console.log(JSON.stringify(await scenarios[name]()));
