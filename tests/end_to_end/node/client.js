// One connection to a system: hello, tell, ask, and actors of one's own that are written to.

import net from "node:net";
import tls from "node:tls";
import { Tag } from "cbor2";
import { cut, Joiner, packed, Splitter } from "./frames.js";

const HELLO = 0, ANSWER = 1, FAILURE = 2, CREDIT = 4, PING = 5, PONG = 6, DOWN = 11, GOODBYE = 13;
const WATCH = 9, TELLS = 14;
const MOST_TOGETHER = 64; // small tells in one frame: few enough for the items that every peer takes

const OURS = {
  protocol: 1,
  system: "node",
  incarnation: 1,
  vocabulary: new Uint8Array(8),
  frame_bytes: 262144,
  message_bytes: 2 ** 29,
  window: [8, 1048576], // small, so that the other side runs out of credit soon
  silence_seconds: 15,
  address: null,
};

/** A message: its wire name and its fields. */
export const message = (name, ...fields) => new Tag(27, [name, fields]);

/** A ref to an actor of this client. */
export const ownRef = (name) => new Tag(27, ["trioactor.ref", [1, name, null, null]]);

/** The question ended in an error. */
export class Failed extends Error {
  constructor(kind, text) {
    super(text);
    this.kind = kind;
  }
}

export class Client {
  pings = 0;
  frames = { tells: 0, messages: 0 }; // how many of each have come
  #socket;
  #joiner = new Joiner();
  #questions = new Map(); // by number: the promise, and what is owed for it
  #watches = new Map();
  #spent = new Map(); // by actor: what was sent that its mailbox has not taken
  #waiting = []; // until credit comes
  #next = 1;
  #actors = {}; // by name: a function of the message, [name, fields]; what it returns is the answer
  #greeted;
  #takesTells;

  /** Connect, and return the client when both have said hello. */
  static async connect({ port, secrets, actors = {}, changes = {} }) {
    const client = new Client();
    const at = { host: "127.0.0.1", port };
    client.#actors = actors;
    client.#takesTells = changes.tells === true;
    client.#socket = secrets ? tls.connect({ ...at, ...secrets }) : net.connect(at);
    client.ended = new Promise((resolve) => client.#socket.on("close", resolve));
    const greeted = new Promise((resolve, reject) => (client.#greeted = { resolve, reject }));
    const splitter = new Splitter();
    client.#socket.on("error", (error) => client.#fail(error));
    client.#socket.on("close", () => client.#fail(new Error("the connection has ended")));
    client.#socket.on("data", (data) => {
      try {
        for (const payload of splitter.feed(data)) client.#take(payload);
      } catch (error) {
        client.#fail(error);
        client.#socket.destroy();
      }
    });
    client.#write(packed([HELLO, { ...OURS, ...changes }]));
    await greeted;
    return client;
  }

  /** Send a message; returns when its bytes are handed over, which may take credit. */
  async tell(actor, what) {
    await this.#send(actor, packed([actor, what]));
  }

  /** Send small messages of one name, several in a frame if the peer takes that. */
  async tellTogether(actor, name, listOfFields) {
    if (!this.hello.tells) {
      for (const fields of listOfFields) await this.tell(actor, message(name, ...fields));
      return;
    }
    const most = Math.min(MOST_TOGETHER, this.hello.window[0]);
    for (let at = 0; at < listOfFields.length; at += most) {
      const some = listOfFields.slice(at, at + most);
      await this.#send(actor, packed([TELLS, actor, name, some]), some.length);
    }
  }

  /** Send a question, and return the answer. Throws `Failed`. */
  async ask(actor, what, headers = {}) {
    const number = this.#next++;
    const encoded = packed([actor, what, { ask: number, ...headers }]);
    const answer = new Promise((resolve, reject) => {
      this.#questions.set(number, { resolve, reject, actor, size: encoded.size });
    });
    answer.catch(() => {}); // it may fail while it waits for credit
    await this.#send(actor, encoded);
    return answer;
  }

  /** Return the reason for which an actor ends, when it does. */
  watch(actor) {
    const number = this.#next++;
    const down = new Promise((resolve) => this.#watches.set(number, resolve));
    this.#write(packed([WATCH, number, actor]));
    return down;
  }

  async goodbye() {
    this.#write(packed([GOODBYE, "the client is done", []]));
    this.#socket.end();
    await this.ended;
  }

  // --- out ---------------------------------------------------------------------------------------

  async #send(actor, encoded, count = 1) {
    const [messages, bytes] = this.hello.window;
    const spent = this.#spent.get(actor) ?? { messages: 0, bytes: 0 };
    this.#spent.set(actor, spent);
    while (spent.messages + count > messages || spent.bytes >= bytes) {
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
    spent.messages += count;
    spent.bytes += encoded.size;
    this.#write(encoded);
  }

  #write(encoded) {
    for (const frame of cut(encoded, this.hello?.frame_bytes ?? OURS.frame_bytes)) this.#socket.write(frame);
  }

  #refund(actor, messages, bytes) {
    const spent = this.#spent.get(actor);
    spent.messages -= messages;
    spent.bytes -= bytes;
    this.#waiting.splice(0).forEach((wake) => wake());
  }

  // --- in ----------------------------------------------------------------------------------------

  #take(payload) {
    const taken = this.#joiner.take(payload);
    if (taken === null) return;
    const [first, ...fields] = taken.frame;
    if (!this.hello) this.#greet(first, fields);
    else if (typeof first === "string") this.#deliver(first, fields, taken.size);
    else if (first === TELLS) this.#deliverTogether(...fields, taken.size);
    else if (first === ANSWER) this.#settle(fields[0], (question) => question.resolve(fields[1]));
    else if (first === FAILURE) {
      this.#settle(fields[0], (question) => question.reject(new Failed(fields[1], fields[2])));
    } else if (first === CREDIT) this.#refund(...fields);
    else if (first === PING) {
      this.pings += 1;
      this.#write(packed([PONG, fields[0]]));
    } else if (first === DOWN) this.#watches.get(fields[0])?.(fields[1]);
    else if (first === GOODBYE) this.#socket.end();
    else if (first !== PONG) throw new Error(`a frame ${first} came, which is not for this client`);
  }

  #greet(first, [hello]) {
    if (first === GOODBYE) throw new Error(`the peer refuses: ${hello}`);
    if (first !== HELLO) throw new Error("the first frame of the peer is no hello");
    if (hello.protocol !== 1) throw new Error(`the peer speaks version ${hello.protocol}, this client version 1`);
    this.hello = hello;
    this.#greeted.resolve();
  }

  #deliverTogether(actor, name, messages, size) {
    if (!this.#takesTells) throw new Error("several tells came in one frame, which the hello did not allow");
    this.frames.tells += 1;
    for (const fields of messages) if (Object.hasOwn(this.#actors, actor)) this.#actors[actor](name, fields);
    this.#write(packed([CREDIT, actor, messages.length, size]));
  }

  #deliver(actor, [{ contents: [name, fields] }, headers = {}], size) {
    this.frames.messages += 1;
    const known = Object.hasOwn(this.#actors, actor);
    if (headers.ask === undefined) {
      if (known) this.#actors[actor](name, fields);
      this.#write(packed([CREDIT, actor, 1, size]));
    } else if (known) {
      this.#write(packed([ANSWER, headers.ask, this.#actors[actor](name, fields)]));
    } else {
      this.#write(packed([FAILURE, headers.ask, "not_delivered", "there is no such actor", ""]));
    }
  }

  #settle(number, how) {
    const question = this.#questions.get(number);
    if (!question) throw new Error("an answer came to a question that was not asked");
    this.#questions.delete(number);
    this.#refund(question.actor, 1, question.size);
    how(question);
  }

  #fail(error) {
    this.#greeted.reject(error);
    this.#questions.forEach(({ reject }) => reject(error));
    this.#questions.clear();
  }
}
